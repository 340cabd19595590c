import type { Partition } from './partition.ts'

export type IntakeSettings = {
  /** Bytes that the daemon holds at most: of records queued, in flight and uncommitted, and of what they want written. */
  readonly budgetBytes: number
  /** The same in records: small ones cost more in objects than in bytes. */
  readonly budgetRecords: number
  /** Records, and their bytes, that one mailbox may hold before its partition pauses. */
  readonly mailboxMaxRecords: number
  readonly mailboxMaxBytes: number
}

/** Intake resumes when the budget is down to this part of itself: short pauses throw prefetched records away. */
const resumeAt = 0.6

/** Mailboxes that wait are parked from this part on, before anything is paused, until no more than this is used. */
const shortAt = 0.7
export const relievedAt = 0.5

/** It pauses at this part, because what a source has on its way still comes after a pause. */
const pauseAt = 0.8

/**
 * Backpressure: decides which partitions deliver. The budget pauses all; a mailbox past its bound pauses its partition;
 * an outbox that cannot publish pauses its group; `hold` pauses all for a reason of its own (a drain).
 */
export class Intake {
  readonly #settings: IntakeSettings
  readonly #holds = new Set<string>()
  #bytes = 0
  #written = 0
  #records = 0
  #reservedBytes = 0
  #reservedRecords = 0
  #overBudget = false

  constructor(settings: IntakeSettings) {
    this.#settings = settings
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Of these, what decisions want written. */
  get bytesToWrite(): number {
    return this.#written
  }

  get reasons(): readonly string[] {
    return this.#overBudget ? ['budget', ...this.#holds] : [...this.#holds]
  }

  took(bytes: number): void {
    this.#bytes += bytes
    this.#records++
  }

  /** A decision wants so many bytes written; less than 0 when they have been, or it was taken back. */
  weighed(bytes: number): void {
    this.#bytes += bytes
    this.#written += bytes
  }

  /** So much waits to be written that nothing more should be handled meanwhile. */
  get crowded(): boolean {
    return this.#written > this.#settings.budgetBytes / 2
  }

  gave(bytes: number): void {
    this.#bytes -= bytes
    this.#records--
  }

  hold(reason: string, on: boolean): void {
    if (on) this.#holds.add(reason)
    else this.#holds.delete(reason)
  }

  /** Whether what only waits should give its memory up; a pause goes on until it has, though less than `shortAt` is used. */
  get short(): boolean {
    return this.#overBudget || this.used >= shortAt
  }

  /** How much of the budget is used: 1 is all of it. */
  get used(): number {
    const { budgetBytes, budgetRecords } = this.#settings
    return Math.max(
      (this.#bytes + this.#reservedBytes) / budgetBytes,
      (this.#records + this.#reservedRecords) / budgetRecords,
    )
  }

  /** The same, were so much given back. */
  usedWithout(bytes: number, records: number): number {
    const { budgetBytes, budgetRecords } = this.#settings
    return Math.max((this.#bytes - bytes) / budgetBytes, (this.#records - records) / budgetRecords)
  }

  /** Bytes that may be read back from PostgreSQL, and records. */
  get room(): number {
    return Math.floor(this.#settings.budgetBytes * pauseAt - this.#bytes - this.#reservedBytes)
  }

  get roomRecords(): number {
    return Math.floor(this.#settings.budgetRecords * pauseAt - this.#records - this.#reservedRecords)
  }

  /** So much may come with what is being read back; less than 0 when it has come. */
  reserve(bytes: number, records: number): void {
    this.#reservedBytes += bytes
    this.#reservedRecords += records
  }

  /** Pauses and resumes what must be; `held` are groups. Called at the end of every event. */
  update(partitions: Iterable<Partition>, held: ReadonlySet<string>): void {
    const { used } = this
    if (used >= pauseAt) this.#overBudget = true
    else if (used <= resumeAt) this.#overBudget = false
    const all = this.#overBudget || this.#holds.size > 0
    const pause = new Map<Partition['group'], Partition[]>()
    const resume = new Map<Partition['group'], Partition[]>()
    for (const partition of partitions) {
      if (partition.phase !== 'owned') continue
      const wanted = all || partition.fullMailboxes > 0 || held.has(partition.group.name)
      if (wanted === partition.paused) continue
      partition.paused = wanted
      const changes = wanted ? pause : resume
      const list = changes.get(partition.group)
      if (list) list.push(partition)
      else changes.set(partition.group, [partition])
    }
    for (const [group, list] of pause) group.source.pause(list)
    for (const [group, list] of resume) group.source.resume(list)
  }
}
