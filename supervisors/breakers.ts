import { type Circuit, type CircuitEvent, isClosed, transition } from '../core/circuit-breaker.ts'
import type { Clock, Timer } from '../core/clock.ts'
import type { OpenBreakers } from '../core/metrics.ts'
import type { BreakerReset, Trip } from '../core/postgres/ownership.ts'
import type { BreakerChange, BreakerRow } from '../core/postgres/transactions.ts'
import type { Mailbox } from './mailbox.ts'
import { OwnCircuits, type Place } from './own-circuits.ts'
import type { Partition } from './partition.ts'
import type { SharedBreakerSettings } from './shared-breaker.ts'
import { SharedBreakers } from './shared-breakers.ts'
import { Trips } from './trips.ts'

/** A breaker that has opened or closed; `tenant` is '' for the one that all tenants share, which is of no partition. */
export type BreakerNews = {
  readonly group: string
  readonly actor: string
  readonly dependency: string
  readonly tenant: string
  readonly partition: number | null
  readonly open: boolean
}

export type BreakersHost = {
  /** What kept the mailbox has ended: it asks `gate` again. */
  mayGo(mailbox: Mailbox): void
  /** Its probe has not answered in time: the run is to be ended. */
  overdue(mailbox: Mailbox): void
  /** To be written in a commit of the partition. */
  record(partition: Partition, change: BreakerChange): void
  news(news: BreakerNews): void
  /** The end of what a timer began. */
  settled(): void
}

/** A shared breaker that was taken over may be due at once; those that wait for it must be heard of first. */
const settleMs = 5_000

/**
 * The circuit breakers of a daemon: one for each mailbox and dependency, and for each actor and dependency one that all
 * tenants share. For a dependency a mailbox is in one of the two at a time.
 */
export class Breakers {
  readonly #clock: Clock
  readonly #settings: SharedBreakerSettings
  readonly #host: BreakersHost
  readonly #own = new OwnCircuits()
  readonly #shared: SharedBreakers
  readonly #trips: Trips
  /** Mailboxes whose own circuits let them go at a time. */
  readonly #waits = new Map<Mailbox, Timer>()
  /** Mailboxes whose next answer decides on circuits of their own. */
  readonly #probes = new Map<Mailbox, { readonly number: number; readonly timer: Timer }>()
  #lastProbe = 0

  constructor(clock: Clock, settings: SharedBreakerSettings, host: BreakersHost) {
    this.#clock = clock
    this.#settings = settings
    this.#host = host
    this.#shared = new SharedBreakers(clock, settings, {
      free: (mailbox) =>
        mailbox.waiting === 'dependency' && this.#dueAt(mailbox) <= clock.monotonic() && !this.#trips.keeps(mailbox),
      go: (mailbox) => this.#mayGo(mailbox),
      overdue: (mailbox) => host.overdue(mailbox),
      record: (home, dependency, circuit) => this.#record({ partition: home, dependency, tenant: '' }, circuit),
      news: ({ group, actor }, dependency, open) =>
        host.news({ group: group.name, actor: actor.name, dependency, tenant: '', partition: null, open }),
      settled: () => host.settled(),
    })
    this.#trips = new Trips(
      clock,
      settings.releasePerSecond,
      (mailbox) => this.#mayGo(mailbox),
      () => host.settled(),
    )
  }

  /** Nothing is open, half-open, tripped or counted. */
  get quiet(): boolean {
    return this.#own.size === 0 && this.#shared.size === 0 && this.#trips.size === 0
  }

  /**
   * Whether the mailbox may send its records: all of them, or one that is waited for; or none until it is told, or
   * until one comes if it has none. To be asked when nothing else keeps it.
   */
  gate(mailbox: Mailbox): 'go' | 'probe' | 'wait' {
    if (this.quiet) return 'go'
    this.#endWait(mailbox)
    if (this.keeps(mailbox)) return 'wait'
    const held = this.#shared.holds(mailbox)
    if (held === 'waits') return 'wait'
    const empty = !mailbox.pending
    if (empty && held === 'probes') {
      this.ended(mailbox)
      return 'wait'
    }
    for (const dependency of mailbox.actor.dependencies) {
      const place = placeOf(mailbox, dependency)
      if (this.#own.get(place) === null || !this.#shared.join(mailbox, dependency)) continue
      this.ended(mailbox)
      this.#set(place, null)
      return 'wait'
    }
    if (this.#probes.has(mailbox)) return 'probe'
    const leftMs = this.#dueAt(mailbox) - this.#clock.monotonic()
    if (leftMs > 0 && !empty) {
      const timer = this.#after(leftMs, () => this.#mayGo(mailbox))
      this.#waits.set(mailbox, timer)
    }
    if (leftMs > 0 || (empty && this.#isHalfOpen(mailbox))) return 'wait'
    return this.#probe(mailbox) || held === 'probes' ? 'probe' : 'go'
  }

  /** Whether an operator has tripped the mailbox's breaker: it waits, whatever it has under way. */
  keeps(mailbox: Mailbox): boolean {
    if (!this.#trips.keeps(mailbox)) return false
    this.ended(mailbox)
    return true
  }

  /**
   * The dependency has failed the mailbox, of which nothing is under way any more, after some had served it. Returns
   * how many times in a row, for the pause before it is tried again; 0 when `gate` says how it goes on.
   */
  failed(mailbox: Mailbox, dependency: string, served: readonly string[]): number {
    // One that has served a call of this message and failed the next has failed it.
    this.#served(
      mailbox,
      served.filter((one) => one !== dependency),
    )
    const place = placeOf(mailbox, dependency)
    const own = this.#own.get(place)
    const circuit = transition(own, this.#answer('failed', mailbox, own), this.#clock.monotonic(), this.#settings)
    const held = this.#shared.failed(mailbox, dependency, circuit?.failures ?? 0)
    this.#set(place, held ? null : circuit)
    this.ended(mailbox)
    return !held && circuit?.phase === 'closed' ? circuit.failures : 0
  }

  /** A record of the mailbox was handled; these dependencies served it. */
  handled(mailbox: Mailbox, served: readonly string[]): void {
    this.#served(mailbox, served)
    this.ended(mailbox)
  }

  /** What the mailbox had under way has ended or was taken back: a probe that has not answered never will. */
  ended(mailbox: Mailbox): void {
    const probe = this.#probes.get(mailbox)
    if (probe !== undefined) {
      probe.timer.cancel()
      this.#probes.delete(mailbox)
      this.#tellOwn(mailbox, { kind: 'abandoned', probe: probe.number })
    }
    if (this.#shared.size > 0) this.#shared.abandoned(mailbox)
  }

  /** What `gate` said that the mailbox waits for, and how long by its own circuit, in ms; 0: others say how long. */
  waitsFor(mailbox: Mailbox): { readonly reason: string; readonly ms: number } {
    const tripped = this.#trips.keptFrom(mailbox)
    if (tripped !== null) return { reason: `an operator keeps it from ${tripped}`, ms: 0 }
    const shared = this.#shared.keptFrom(mailbox)
    if (shared !== null) return { reason: `${shared} is away for most tenants`, ms: 0 }
    const dueAt = this.#dueAt(mailbox)
    const away = mailbox.actor.dependencies.filter((one) => !isClosed(this.#own.get(placeOf(mailbox, one))))
    return { reason: `${away.join(', ')} is away`, ms: Math.max(0, dueAt - this.#clock.monotonic()) }
  }

  /** The mailbox is closed. Its circuits stay for the next one of its tenant and partition. */
  left(mailbox: Mailbox): void {
    this.ended(mailbox)
    this.#endWait(mailbox)
    if (this.#shared.size > 0) this.#shared.left(mailbox)
    this.#trips.left(mailbox)
  }

  /** The partition was taken over, and an earlier owner has left these. */
  restore(partition: Partition, rows: readonly BreakerRow[]): void {
    const now = this.#clock.monotonic()
    for (const { actor, tenant, dependency, state, failures, successes, probeAt } of rows) {
      // Of an earlier version of the actor: nobody would ever ask, and close it.
      if (!partition.actor.dependencies.includes(dependency)) {
        this.#host.record(partition, { actor, tenant, dependency, state: 'closed' })
        continue
      }
      // Never longer than one is open, whatever the clocks of two machines say.
      const leftMs = Math.max(0, Math.min(probeAt - this.#clock.now(), this.#settings.openMs))
      if (tenant === '') {
        this.#shared.restore(partition, dependency, failures, now + Math.max(leftMs, settleMs))
      } else {
        const circuit: Circuit =
          state === 'open'
            ? { phase: state, failures, probeAt: now + leftMs }
            : { phase: state, failures, successes, probe: 0, deadline: 0 }
        this.#own.set({ partition, dependency, tenant }, circuit)
      }
    }
  }

  /** The partition is not ours any more; its mailboxes have left. */
  dropped(partition: Partition): void {
    this.#own.drop(partition)
    this.#shared.dropped(partition)
  }

  /** These are tripped now. Returns those that were not before: mailboxes that go on are to ask `keeps`. */
  tripped(trips: readonly Trip[]): readonly Trip[] {
    return this.#trips.update(trips)
  }

  /** Closes what an operator names: of one tenant, or with '' the shared one and those of every tenant. */
  reset({ group, actor, dependency, tenant }: BreakerReset): void {
    if (tenant === '') this.#shared.reset(group, actor, dependency)
    for (const place of this.#own.places(group, actor, dependency))
      if (tenant === '' || place.tenant === tenant) this.#set(place, null)
    for (const [mailbox, { timer }] of this.#probes) {
      if (this.#isHalfOpen(mailbox)) continue
      timer.cancel()
      this.#probes.delete(mailbox)
    }
    for (const mailbox of [...this.#waits.keys()]) this.#mayGo(mailbox)
  }

  /** Those that are not closed. */
  open(): readonly OpenBreakers[] {
    const open = new Map<string, OpenBreakers>()
    for (const { partition, dependency, count } of this.#own.open()) {
      const { group, actor } = partition
      const key = `${group.name}\n${actor.name}\n${dependency}`
      const sum = count + (open.get(key)?.count ?? 0)
      open.set(key, { group: group.name, actor: actor.name, dependency, scope: 'tenant', count: sum })
    }
    return [...open.values(), ...this.#shared.open()]
  }

  stop(): void {
    this.#shared.stop()
    this.#trips.stop()
  }

  #served(mailbox: Mailbox, dependencies: readonly string[]): void {
    for (const dependency of dependencies) {
      const place = placeOf(mailbox, dependency)
      const own = this.#own.get(place)
      const answer = this.#answer('succeeded', mailbox, own)
      if (own !== null) this.#set(place, transition(own, answer, this.#clock.monotonic(), this.#settings))
      this.#shared.succeeded(mailbox, dependency)
    }
  }

  #isHalfOpen(mailbox: Mailbox): boolean {
    return mailbox.actor.dependencies.some((one) => !isClosed(this.#own.get(placeOf(mailbox, one))))
  }

  #dueAt(mailbox: Mailbox): number {
    let dueAt = 0
    for (const dependency of mailbox.actor.dependencies) {
      const own = this.#own.get(placeOf(mailbox, dependency))
      if (own?.phase === 'open') dueAt = Math.max(dueAt, own.probeAt)
    }
    return dueAt
  }

  /** Begins a probe for every circuit of its own that is not closed. False: there is none. */
  #probe(mailbox: Mailbox): boolean {
    const number = this.#lastProbe + 1
    if (!this.#tellOwn(mailbox, { kind: 'probe', probe: number })) return false
    this.#lastProbe = number
    const timer = this.#after(this.#settings.probeTimeoutMs, () => this.#late(mailbox, number))
    this.#probes.set(mailbox, { number, timer })
    return true
  }

  #late(mailbox: Mailbox, probe: number): void {
    this.#probes.delete(mailbox)
    this.#tellOwn(mailbox, { kind: 'failed', probe })
    this.#host.overdue(mailbox)
  }

  /** Whether there was a circuit of its own to be told, that is, one that is not closed. */
  #tellOwn(mailbox: Mailbox, event: CircuitEvent): boolean {
    let told = false
    for (const dependency of mailbox.actor.dependencies) {
      const place = placeOf(mailbox, dependency)
      const own = this.#own.get(place)
      if (isClosed(own)) continue
      told = true
      this.#set(place, transition(own, event, this.#clock.monotonic(), this.#settings))
    }
    return told
  }

  /** An answer to the probe that the mailbox has under way, or to a call that went while the circuit was closed. */
  #answer(kind: 'succeeded' | 'failed', mailbox: Mailbox, own: Circuit | null): CircuitEvent {
    return { kind, probe: isClosed(own) ? 0 : (this.#probes.get(mailbox)?.number ?? 0) }
  }

  #set(place: Place, circuit: Circuit | null): void {
    const before = this.#own.get(place)
    if (before === circuit) return
    this.#own.set(place, circuit)
    if (isClosed(before) && isClosed(circuit)) return
    this.#record(place, circuit)
    if (isClosed(before) === isClosed(circuit)) return
    const { dependency, tenant } = place
    const { group, actor, partition } = place.partition
    this.#host.news({ group: group.name, actor: actor.name, dependency, tenant, partition, open: !isClosed(circuit) })
  }

  /** A probe that has only begun leaves no trace: nothing of it outlives its owner. */
  #record({ partition, dependency, tenant }: Place, circuit: Circuit | null): void {
    const id = { actor: partition.actor.name, tenant, dependency }
    if (circuit === null || circuit.phase === 'closed') {
      this.#host.record(partition, { ...id, state: 'closed' })
    } else if (circuit.phase === 'open' || circuit.probe === 0) {
      const leftMs = circuit.phase === 'open' ? circuit.probeAt - this.#clock.monotonic() : 0
      this.#host.record(partition, {
        ...id,
        state: circuit.phase,
        failures: circuit.failures,
        successes: circuit.phase === 'open' ? 0 : circuit.successes,
        probeAt: Math.round(this.#clock.now() + leftMs),
      })
    }
  }

  #mayGo(mailbox: Mailbox): void {
    this.#endWait(mailbox)
    if (mailbox.waiting === 'dependency') this.#host.mayGo(mailbox)
  }

  #endWait(mailbox: Mailbox): void {
    this.#waits.get(mailbox)?.cancel()
    this.#waits.delete(mailbox)
  }

  #after(ms: number, then: () => void): Timer {
    return this.#clock.after(ms, () => {
      then()
      this.#host.settled()
    })
  }
}

function placeOf({ partition, tenant }: Mailbox, dependency: string): Place {
  return { partition, dependency, tenant }
}
