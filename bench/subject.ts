/** What is measured: a program that reads a topic and writes a row of `effects` for each message. */
export interface Subject {
  readonly pid: number
  /** When it was started, in milliseconds since 1970. */
  readonly startedAt: number
  /** When it could begin to read, as it says itself; undefined as long as it has not said so. */
  readyAt(): number | undefined
  /** How many records it is done with, copies included. */
  done(): Promise<number>
  /** Rejects when it ends by itself. */
  readonly ended: Promise<never>
  /** Stops it and resolves when it has ended. */
  stop(): Promise<void>
}
