import { z } from 'zod'

/** What a handler does with a record. docs/benchmarks.md says it at length. */
export const workKinds = ['nothing', 'row', 'transaction', 'batch', 'wait', 'waits', 'http'] as const

export type WorkKind = (typeof workKinds)[number]

/** Where a handler waits, the number of keys decides how much can run at once: each of these has its own runs. */
export const waitingKeys = [1, 10, 100, 1_000, 10_000]

/** The environment variable that tells a peer's process what to do. */
export const assignmentVariable = 'PEER'

/** What that variable holds, as JSON. */
export const assignment = z.object({
  kafka: z.string(),
  topic: z.string(),
  group: z.string(),
  postgres: z.string(),
  work: z.object({
    kind: z.enum(workKinds),
    /** So many waits of `ms` milliseconds, one after the other. */
    ms: z.number().optional(),
    times: z.number().optional(),
    url: z.string().optional(),
  }),
  /** Records at most that are worked on at once. */
  concurrency: z.number(),
  partitions: z.number(),
  /** To PostgreSQL, at most. */
  connections: z.number(),
})

export type Assignment = z.infer<typeof assignment>

/** A line of its standard output: that it has a partition, or how many records it has finished until when. */
export const progressLine = z.union([z.object({ ready: z.number() }), z.object({ done: z.number(), at: z.number() })])

/** A group member's session, in all peers and in ours: how long a killed one's partitions stay unread. */
export const sessionMs = 10_000
export const heartbeatMs = 1_000

/** What one would use instead of tenantry: a program that keeps to this file. */
export type Peer = {
  readonly name: string
  readonly runtime: 'node' | 'java'
  /** What it shows. */
  readonly library: string
  readonly works: readonly WorkKind[]
  /** Builds what has to be built, and says how it is started: the library's own process, no shell around it. */
  command(): Promise<PeerCommand>
  /** Of everything that its figures depend on. */
  versions(): Readonly<Record<string, string>>
}

export type PeerCommand = {
  readonly program: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}
