/** How far a subject was at a moment. */
export type Reached = {
  /** Records that it is done with, copies included. */
  readonly records: number
  /** In milliseconds since 1970. */
  readonly at: number
}

/** What is measured: a program, or several of a group, that read a topic and do the same work for each message. */
export interface Subject {
  /** Of all processes that it has had, the one that ran last at the end. */
  readonly pids: readonly number[]
  /** When it was started, in milliseconds since 1970. */
  readonly startedAt: number
  /** When it could begin to read, as it says itself; undefined as long as it has not said so. */
  readyAt(): number | undefined
  done(): Promise<Reached>
  /** Rejects when it ends by itself. */
  readonly ended: Promise<never>
  /** Stops it and resolves when it has ended. Rejects unless it ends as it should. */
  stop(): Promise<void>
  /** Ends it at once. */
  kill(): Promise<void>
  /** Where it writes, kept when a run has failed. */
  readonly folders: readonly string[]
  /** The last it has said. */
  logEnd(): string
}
