import { z } from 'zod'

/**
 * What a daemon answers at /stuck, and what `tenantry stuck --json` prints of it. Times of day are ISO 8601, durations
 * milliseconds. Nothing of a record's content is in it.
 */

const stuckTenant = z.object({
  group: z.string(),
  topic: z.string(),
  partition: z.int(),
  tenant: z.string(),
  /** How long its oldest unfinished record has waited since it came, or first failed; parking and restarts count. */
  stuckForMs: z.number(),
  /** A word: retry, held, dependency, blocked, running, turn, state, commit, parked, handover. */
  waitsFor: z.string(),
  /** What to know of that, or to do about it; '' where the word says all. */
  reason: z.string(),
  /** When it goes on by itself, where that is known. */
  until: z.string().nullable(),
  /** How long it has waited for just this, where that is known: of one that runs, since it began. */
  forMs: z.number().nullable(),
  /** The number of the worker that has it, or will. */
  worker: z.int().nullable(),
  /** Its oldest unfinished record; null where that is not in memory. */
  oldest: z
    .object({
      offset: z.int(),
      /** Since its timestamp; null where it has none. */
      writtenForMs: z.number().nullable(),
      /** Since it came from Kafka, or back from PostgreSQL. */
      hereForMs: z.number(),
    })
    .nullable(),
  /** Failed attempts at the next record. */
  attempts: z.int(),
  /** What failed last: reason, and class of the error or SQLSTATE. */
  lastError: z.string().nullable(),
  queued: z.int(),
  inFlight: z.int(),
  /** Decided and not yet committed. */
  uncommitted: z.int(),
  /** In PostgreSQL, or on their way there. */
  parked: z.int(),
})

const stuckPartition = z.object({
  group: z.string(),
  topic: z.string(),
  partition: z.int(),
  phase: z.string(),
  paused: z.boolean(),
  /** Why it is stopped, still being claimed, or paused. */
  reason: z.string(),
  watermark: z.int(),
  /** Records have come up to here. */
  position: z.int(),
  /** The log's end as last heard; -1 unknown. */
  end: z.int(),
  /** How long the watermark has stood still with a record there that holds it, or the partition has been claimed. */
  forMs: z.number(),
  /** Whose record the watermark waits for; null where that is nobody's. */
  holder: z.object({ tenant: z.string(), offset: z.int(), hereForMs: z.number() }).nullable(),
})

export const stuckReport = z.object({
  at: z.string(),
  /** Why the daemon is not ready; empty when it is. */
  reasons: z.array(z.string()),
  longerThanMs: z.number(),
  /** Those that have waited for longer, or the tenant that was asked for; longest first. */
  tenants: z.array(stuckTenant),
  /** How many more there are. */
  moreTenants: z.int(),
  /** Stopped, being claimed, paused, or with a watermark that has stood still for longer. */
  partitions: z.array(stuckPartition),
  morePartitions: z.int(),
  /** Partitions that the daemon has: what is in others, other daemons know. */
  assigned: z.int(),
})

export type StuckReport = z.infer<typeof stuckReport>
export type StuckTenant = z.infer<typeof stuckTenant>
export type StuckPartition = z.infer<typeof stuckPartition>

/** What is asked for. */
export type StuckQuery = {
  readonly group?: string
  /** All of this tenant, whether it is stuck or not. */
  readonly tenant?: string
  readonly longerThanMs: number
  /** Tenants, and partitions, that are named at most. */
  readonly limit: number
}

export const stuckDefaults: StuckQuery = { longerThanMs: 5_000, limit: 50 }

/** Named at most, whatever is asked for. */
export const stuckMaxLimit = 1_000
