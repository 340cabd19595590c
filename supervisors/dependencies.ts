import type { Clock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { OpenBreakers } from '../core/metrics.ts'
import type { BreakerRequests, Ledger } from '../core/postgres/ownership.ts'
import type { BreakerRow } from '../core/postgres/transactions.ts'
import type { Random } from '../core/random.ts'
import { pauseMs } from '../core/retry-policy.ts'
import type { Failed } from '../core/workers.ts'
import { type BreakerNews, Breakers } from './breakers.ts'
import type { Item } from './item.ts'
import type { Mailbox } from './mailbox.ts'
import type { Partition } from './partition.ts'
import type { SharedBreakerSettings } from './shared-breaker.ts'

export type DependenciesSettings = SharedBreakerSettings & {
  /** So long after a record's own first failure it is given up. */
  readonly maxWaitMs: number
}

export type DependenciesOptions = {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly settings: DependenciesSettings
  readonly ledger: Ledger
  /** Those whose actors have dependencies. */
  readonly groups: readonly string[]
  readonly mailboxes: () => Iterable<Mailbox>
  /** The partition has something to write, whether or not it has decisions. */
  readonly touch: (partition: Partition) => void
  /** Ends the mailbox's run: what is in flight is not heard. */
  readonly withdraw: (mailbox: Mailbox) => void
  /** The mailbox goes on with a new run, if nothing keeps it. */
  readonly resume: (mailbox: Mailbox) => void
  /**
   * The time that a record has that fails first now: no step of a clock makes what waits seem to have waited, nor does the
   * clock of another daemon that takes it over.
   */
  readonly serverTime: () => number
  /** Ends the run and writes the failure down, which is to be tried again; so many attempts have failed with it. */
  readonly repeat: (mailbox: Mailbox, item: Item, failed: Failed, attempts: number, delayMs: number) => void
  readonly retryAfter: (mailbox: Mailbox, reason: string, ms: number) => void
  readonly dispatch: (mailbox: Mailbox) => void
  /** The mailbox has come to wait. */
  readonly stuck: (mailbox: Mailbox) => void
  readonly settled: () => void
}

/**
 * What becomes of mailboxes whose actors call something outside: a failure of that is no attempt at the record. It
 * counts for the breaker, and the record waits, as its mailbox's next, until it was handled or has waited too long.
 */
export class Dependencies {
  readonly #options: DependenciesOptions
  readonly #breakers: Breakers
  /** Resets that operators have asked for and that were done; null before the first look. */
  #seen: ReadonlySet<number> | null = null
  #asking = false

  constructor(options: DependenciesOptions) {
    this.#options = options
    const { clock, settings, resume, settled } = options
    this.#breakers = new Breakers(clock, settings, {
      mayGo: resume,
      overdue: (mailbox) => this.#overdue(mailbox),
      record: (partition, change) => {
        if (!partition.commits) return
        partition.record(change)
        options.touch(partition)
      },
      news: (news) => this.#tell(news),
      settled,
    })
  }

  /** Breakers that are not closed. */
  open(): readonly OpenBreakers[] {
    return this.#breakers.open()
  }

  /** Whether a breaker keeps the mailbox, which then waits. */
  keeps(mailbox: Mailbox): boolean {
    if (mailbox.actor.dependencies.length === 0) return false
    const gate = this.#breakers.gate(mailbox)
    mailbox.probing = gate === 'probe'
    if (gate === 'wait') this.#wait(mailbox)
    return gate === 'wait'
  }

  /** Something has come for a mailbox that waits and had nothing to send. */
  arrived(mailbox: Mailbox): void {
    if (mailbox.queuedCount === 1 && mailbox.parked === null) this.#options.resume(mailbox)
  }

  /** As `arrived`, of dead letters. */
  broughtBack(mailbox: Mailbox): void {
    if (mailbox.waiting === 'dependency' && mailbox.pending) this.#options.resume(mailbox)
  }

  /** A record of the mailbox was decided otherwise than as failed; these dependencies served it. */
  handled(mailbox: Mailbox, served: number): void {
    if (mailbox.actor.dependencies.length === 0 || (this.#breakers.quiet && !mailbox.probing)) return
    this.#breakers.handled(mailbox, namesOf(mailbox, served))
    if (mailbox.probing && !this.keeps(mailbox)) this.#options.dispatch(mailbox)
  }

  /** The run has failed at `item`. False: it has waited too long, or it was no dependency, so that the failure stands. */
  failed(mailbox: Mailbox, item: Item, failed: Failed): boolean {
    const { serverTime, random, settings, repeat, retryAfter, resume } = this.#options
    const { dependency, kind, reason } = failed.failure
    if (dependency === undefined || kind !== 'transient') return false
    const inARow = this.#breakers.failed(mailbox, dependency, namesOf(mailbox, failed.served ?? 0))
    const waitedMs = item.firstFailedAt === 0 ? 0 : serverTime() - item.firstFailedAt
    if (waitedMs >= settings.maxWaitMs) return false
    const delayMs = inARow > 0 ? pauseMs(mailbox.actor.retry, failed.type, inARow, random.next()) : settings.openMs
    repeat(mailbox, item, failed, item.attempts, delayMs)
    if (inARow > 0) retryAfter(mailbox, `${reason} ${dependency}`, delayMs)
    else resume(mailbox)
    return true
  }

  /** The run is over: whatever it had under way says nothing any more. */
  ended(mailbox: Mailbox): void {
    this.#breakers.ended(mailbox)
  }

  /** The mailbox waits for nothing any more: closed, blocked, or all that it had was dropped. */
  left(mailbox: Mailbox): void {
    this.#breakers.left(mailbox)
  }

  owned(partition: Partition, rows: readonly BreakerRow[]): void {
    this.#breakers.restore(partition, rows)
  }

  dropped(partition: Partition): void {
    this.#breakers.dropped(partition)
  }

  stop(): void {
    this.#breakers.stop()
  }

  /** Looks for what operators ask of breakers. To be called often. */
  look(): void {
    const { groups, ledger, settled } = this.#options
    if (groups.length === 0 || this.#asking) return
    this.#asking = true
    void ledger
      .breakerRequests(groups)
      .then(
        (requests) => this.#asked(requests),
        // A database that is away shows everywhere else; it is asked again soon.
        () => {},
      )
      .then(() => {
        this.#asking = false
        settled()
      })
  }

  #asked({ trips, resets }: BreakerRequests): void {
    const { log, mailboxes } = this.#options
    for (const { id, ...reset } of resets) {
      // Those from before this daemon began are in what it took over.
      if (this.#seen === null || this.#seen.has(id)) continue
      log.warn('breaker.reset', reset, 'An operator has closed breakers.')
      this.#breakers.reset({ id, ...reset })
    }
    this.#seen = new Set(resets.map(({ id }) => id))
    const more = this.#breakers.tripped(trips)
    for (const { id: _, ...trip } of more)
      log.warn('breaker.tripped', trip, 'An operator keeps records from a dependency for a while.')
    if (more.length > 0)
      for (const mailbox of mailboxes())
        if (mailbox.waiting === 'nothing' && this.#breakers.keeps(mailbox)) this.#wait(mailbox)
  }

  #wait(mailbox: Mailbox): void {
    const { clock, stuck } = this.#options
    const { reason, ms } = this.#breakers.waitsFor(mailbox)
    mailbox.waiting = 'dependency'
    mailbox.waitingReason = reason
    mailbox.waitingUntil = ms > 0 ? clock.now() + ms : 0
    stuck(mailbox)
  }

  #overdue(mailbox: Mailbox): void {
    if (mailbox.closed) return
    if (mailbox.inFlightCount > 0) {
      this.#options.withdraw(mailbox)
      this.#options.resume(mailbox)
    } else if (mailbox.waiting === 'nothing') {
      // It never got as far as a worker, and must not now.
      this.keeps(mailbox)
    }
  }

  #tell({ open, ...facts }: BreakerNews): void {
    const { log, mailboxes } = this.#options
    // Some that have failed before may be waiting for their turn to be sent already.
    if (open && facts.tenant === '')
      for (const mailbox of mailboxes())
        if (mailbox.waiting === 'nothing' && mailbox.inFlightCount === 0) this.keeps(mailbox)
    const whose = facts.tenant === '' ? 'most of its tenants' : 'a tenant'
    if (open) log.warn('breaker.opened', facts, `A dependency fails ${whose}: their records wait for it.`)
    else log.info('breaker.closed', facts, 'Records do not wait for this dependency any more.')
  }
}

function namesOf({ actor }: Mailbox, served: number): readonly string[] {
  return served === 0 ? none : actor.dependencies.filter((_, place) => (served & (1 << place)) !== 0)
}

const none: readonly string[] = []
