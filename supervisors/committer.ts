import { backOffMs, type Clock } from '../core/clock.ts'
import { TenantryError } from '../core/errors.ts'
import type { Failure } from '../core/effects.ts'
import { Fifo } from '../core/fifo.ts'
import { shownOf } from '../core/postgres/sqlstate.ts'
import type { CommitResult, Lane, Resolution } from '../core/postgres/transactions.ts'
import type { Random } from '../core/random.ts'
import { Bisection, type BisectionHost, type Suspect } from './bisection.ts'
import { orphan, type Plan, planCommit, planSettled } from './commit-plan.ts'
import { CommitSize } from './commit-size.ts'
import type { Decided } from './item.ts'
import type { Partition } from './partition.ts'

/** What a committer tells the engine. Every call is made with the committer in a state that allows `push`. */
export interface CommitHost extends BisectionHost {
  /** The plan is durable; it took `elapsedMs` from sending to answer. */
  committed(plan: Plan, elapsedMs: number): void
  /** A commit ended otherwise, for the metrics: `duplicates`, `fenced`, `unknown`, or whom a refusal blames. */
  missed(plan: Plan, reason: string): void
  /** Another owner, or a commit of ours that we gave up, has moved the partition on: its decisions are lost. */
  fenced(partition: Partition): void
  /** A stateful instance has run a duplicate: what it decided after `decided` must run again from committed state. */
  takeBackAfter(decided: Decided): void
  /** What `decided` was found to be a copy of is not in the commit after all: it runs again, and all after it. */
  takeBackFrom(decided: Decided): void
  /** PostgreSQL is away or refuses everybody; null when it works again. */
  trouble(reason: string | null): void
  /** A partition of this lane whose progress may be committed, to see whether PostgreSQL works; undefined without one. */
  owned(): Partition | undefined
  /** A statement of ours is wrong: nothing can be committed any more. */
  fatal(error: TenantryError): void
  /** End of an event: the engine dispatches what has become possible. */
  settled(): void
}

export type CommitterSettings = {
  readonly commitMaxRecords: number
  readonly commitMaxBytes: number
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  /** What a commit should take at most: it takes fewer records when they take longer. */
  readonly commitTargetMs: number
}

/** After a duplicate, this many commits ask first; a lost bet costs a whole transaction, asking one round trip. */
const checkedCommits = 20

/** A commit of ours may meet this many deadlocks or serialization failures in a row before it waits. */
const promptReruns = 3

/** A commit that has failed so often, for reasons that may lie in what it holds, is halved. */
const patience = 2

/**
 * - `idle`: the lane is free
 * - `committing`: the lane has a plan and has not answered
 * - `resolving`: the answer was lost; nothing is sent until the plan's fate is known
 * - `waiting`: PostgreSQL is away; a timer ends it
 * - `stopped`: for good
 */
type Phase = 'idle' | 'committing' | 'resolving' | 'waiting' | 'stopped'

/**
 * One lane's group commits: takes what is decided whenever the lane is free, and knows what to do with every way a
 * commit can end. Order within a mailbox holds because decisions are taken first in first out, one plan at a time, and
 * what is sent again goes before what is new.
 */
export class Committer {
  readonly #lane: Lane
  readonly #clock: Clock
  readonly #random: Random
  readonly #host: CommitHost
  readonly #settings: CommitterSettings
  readonly #queue = new Fifo<Decided>()
  readonly #size: CommitSize
  readonly #bisection: Bisection
  #touched = new Set<Partition>()
  #phase: Phase = 'idle'
  #plan: Plan | null = null
  #sentAt = 0
  #checked = 0
  /** Waits in a row. */
  #failures = 0
  #troubled = false
  /** When effects were last committed. */
  #committedAt = 0

  constructor(lane: Lane, clock: Clock, random: Random, host: CommitHost, settings: CommitterSettings) {
    this.#lane = lane
    this.#clock = clock
    this.#random = random
    this.#host = host
    this.#settings = settings
    this.#size = new CommitSize(settings.commitMaxRecords, settings.commitTargetMs)
    this.#bisection = new Bisection(this.#size, host)
  }

  /** Decisions neither committed nor taken up by a plan. */
  get queued(): number {
    return this.#queue.length
  }

  get busy(): boolean {
    return this.#phase !== 'idle' || this.#bisection.pending
  }

  push(decided: Decided): void {
    decided.mailbox.partition.uncommitted++
    this.#queue.push(decided)
  }

  /** The partition has progress to record although no decision of it waits. */
  touch(partition: Partition): void {
    this.#touched.add(partition)
  }

  stop(): void {
    this.#phase = 'stopped'
  }

  /** Sends the next commit if the lane is free and there is anything to commit. */
  pump(): void {
    if (this.#phase !== 'idle') return
    const batch = this.#nextBatch()
    const first = batch[0]
    const touched = this.#takeTouched()
    const group = first?.mailbox.partition.group.name ?? touched[0]?.group.name
    if (group !== undefined) this.#send(planCommit(this.#random.uuid(), batch, touched))
    else if (this.#troubled) this.#relieve()
  }

  /** What met the trouble has gone, and nothing else waits that would show its end. */
  #relieve(): void {
    const owned = this.#host.owned()
    if (owned !== undefined) return this.#send(planCommit(this.#random.uuid(), [], [owned]))
    this.#troubled = false
    this.#host.trouble(null)
  }

  #nextBatch(): Decided[] {
    const batch = this.#bisection.next((decided) => this.#stands(decided))
    if (batch.length > 0) return batch
    let bytes = 0
    while (batch.length < this.#size.records && bytes < this.#settings.commitMaxBytes) {
      const decided = this.#queue.shift()
      if (decided === undefined) break
      if (!this.#stands(decided)) continue
      batch.push(decided)
      bytes += decided.item.bytes
    }
    return batch
  }

  /** Whether the decision still holds; one that does not leaves the count of its partition. */
  #stands(decided: Decided): boolean {
    const { partition } = decided.mailbox
    if (!decided.dropped && partition.commits) return true
    partition.uncommitted--
    return false
  }

  #takeTouched(): Partition[] {
    if (this.#touched.size === 0 || this.#bisection.pending) return []
    const touched = [...this.#touched].filter((partition) => partition.commits)
    this.#touched = new Set()
    return touched
  }

  #send(plan: Plan): void {
    this.#phase = 'committing'
    this.#plan = plan
    this.#sentAt = this.#clock.monotonic()
    const mode =
      this.#checked > 0
        ? { kind: 'checked' as const, settle: (duplicates: readonly number[]) => this.#settle(duplicates) }
        : { kind: 'optimistic' as const }
    void this.#lane.commit(plan.commit, mode).then((result) => this.#answered(plan, result))
  }

  /** In the open transaction: its keys are in, and these outcomes turned out to be duplicates. */
  #settle(duplicates: readonly number[]) {
    const plan = this.#plan
    if (plan === null) throw new Error('a lane settled a commit that it does not have')
    this.#checked = duplicates.length > 0 ? checkedCommits : this.#checked - 1
    for (const index of duplicates) {
      const decided = plan.batch[index]
      if (decided && !decided.dropped && decided.mailbox.actor.stateful) this.#host.takeBackAfter(decided)
    }
    // What is taken back may have been an original, too.
    for (let next = orphan(plan, duplicates); next !== undefined; next = orphan(plan, duplicates))
      this.#host.takeBackFrom(next)
    const settled = planSettled(plan, duplicates)
    for (const decided of plan.batch) if (decided.dropped) decided.mailbox.partition.uncommitted--
    this.#plan = settled
    return settled.commit
  }

  #answered(sent: Plan, result: CommitResult): void {
    if (this.#phase !== 'committing') return
    const plan = this.#plan ?? sent
    this.#plan = null
    this.#phase = 'idle'
    if (result.kind !== 'committed') this.#host.missed(plan, result.kind === 'refused' ? result.blame : result.kind)
    switch (result.kind) {
      case 'committed':
        this.#committed(plan)
        break
      case 'duplicates':
        this.#checked = checkedCommits
        this.#again(plan)
        break
      case 'fenced':
        this.#fenced(plan, result.partitions)
        break
      case 'refused':
        this.#refused(plan, result)
        break
      case 'unknown':
        this.#resolve(plan, result.reason.message)
        break
    }
    this.#finish()
  }

  #finish(): void {
    this.pump()
    this.#host.settled()
  }

  #committed(plan: Plan): void {
    this.#bisection.committed()
    this.#failures = 0
    const now = this.#clock.monotonic()
    // Progress and dead letters say nothing of whether effects can be written.
    if (plan.commit.outcomes.some(({ result }) => result.kind === 'done')) this.#committedAt = now
    if (this.#troubled) {
      this.#troubled = false
      this.#host.trouble(null)
    }
    const elapsedMs = now - this.#sentAt
    this.#size.took(plan.batch.length, elapsedMs)
    for (const decided of plan.batch) decided.mailbox.partition.uncommitted--
    this.#host.committed(plan, elapsedMs)
  }

  /** The same decisions go next, in a new commit with a new id. */
  #again(plan: Plan): void {
    this.#touchAgain(plan)
    this.#bisection.again(plan.batch)
  }

  #touchAgain(plan: Plan): void {
    for (const { partition } of plan.partitions) if (partition.commits) this.#touched.add(partition)
  }

  #fenced(plan: Plan, indices: readonly number[]): void {
    for (const index of indices) {
      const planned = plan.partitions[index]
      if (planned) this.#host.fenced(planned.partition)
    }
    this.#again(plan)
  }

  #refused(plan: Plan, result: Extract<CommitResult, { kind: 'refused' }>): void {
    const { failure, blame, step } = result
    if (blame === 'again') {
      this.#setback(plan, failure, promptReruns, step === 'effect' ? 'limited' : null)
      if (this.#bisection.setbacks > promptReruns) this.#wait(shownOf(failure))
    } else if (step === 'effect' && blame === 'infrastructure') {
      // The code alone does not say whose fault it is: an actor's statement may use up its own limit. While nobody can
      // commit, nobody is to blame.
      const held = plan.batch[0]?.mailbox.held ?? null
      this.#setback(plan, failure, patience, held !== null && this.#committedAt > held.since ? 'limited' : 'unlimited')
      this.#wait(shownOf(failure))
    } else if (step === 'own' && blame === 'held') {
      // Ours may take too long for what it is given.
      this.#setback(plan, failure, patience, null)
      this.#wait(shownOf(failure))
    } else if (blame === 'infrastructure') {
      this.#again(plan)
      this.#wait(shownOf(failure))
    } else if (step === 'own') {
      this.#again(plan)
      this.stop()
      const facts = { sqlstate: failure.sqlstate ?? '' }
      const message = `PostgreSQL refuses a statement of tenantry's own: ${shownOf(failure)}. This is a fault in tenantry or in its schema: run "tenantry migrate status", and report it.`
      this.#host.fatal(new TenantryError('TENANTRY_COMMIT_BROKEN', message, facts))
    } else {
      this.#touchAgain(plan)
      this.#bisection.halve(plan.batch, failure, blame === 'held' ? 'limited' : 'no')
    }
  }

  #setback(plan: Plan, failure: Failure, attempts: number, alone: Suspect['held'] | null): void {
    this.#touchAgain(plan)
    this.#bisection.setback(plan.batch, failure, attempts, alone)
  }

  #resolve(plan: Plan, reason: string): void {
    this.#phase = 'resolving'
    void this.#lane.resolve(plan.commit).then((resolution) => this.#resolved(plan, resolution, reason))
  }

  #resolved(plan: Plan, resolution: Resolution, reason: string): void {
    if (this.#phase !== 'resolving') return
    if (resolution.kind === 'unavailable') {
      this.#backOff(resolution.reason.message, () => this.#resolve(plan, reason))
      return
    }
    this.#phase = 'idle'
    if (resolution.kind === 'committed') this.#committed(plan)
    else if (resolution.moved.length > 0) this.#fenced(plan, resolution.moved)
    else this.#unanswered(plan, reason)
    this.#finish()
  }

  /** Once is the network's or the server's; again and again it may be too long, or end its backend. */
  #unanswered(plan: Plan, reason: string): void {
    const failure = { reason: 'effect', errorClass: '', message: reason, stack: '', kind: 'permanent' } as const
    this.#setback(plan, failure, patience, 'unlimited')
    if (this.#bisection.setbacks >= patience) this.#wait(reason)
  }

  #wait(reason: string): void {
    this.#phase = 'waiting'
    this.#backOff(reason, () => {
      this.#phase = 'idle'
      this.#finish()
    })
  }

  /** Calls `then` after a delay that doubles with each failure in a row, with jitter. */
  #backOff(reason: string, then: () => void): void {
    const { backoffMinMs, backoffMaxMs } = this.#settings
    const delay = backOffMs(++this.#failures, { first: backoffMinMs, most: backoffMaxMs })
    this.#troubled = true
    this.#host.trouble(reason)
    this.#clock.after(delay * (0.5 + this.#random.next() / 2), () => {
      if (this.#phase !== 'stopped') then()
    })
  }
}
