import {
  type Circuit,
  type CircuitEvent,
  type CircuitSettings,
  isClosed,
  mayProbe,
  transition,
} from '../core/circuit-breaker.ts'
import type { Clock, Timer } from '../core/clock.ts'
import { SteppedRelease } from './stepped-release.ts'
import { TenantTally } from './tenant-tally.ts'

export type SharedBreakerSettings = CircuitSettings & {
  /** Fewer tenants than this failing alike never open it: it may be their own doing. */
  readonly sharedTenants: number
  /** It opens when more than this share of the tenants that called the dependency lately fail. */
  readonly sharedRatio: number
  /** How long ago is lately. */
  readonly sharedWindowMs: number
  /** When it has closed, so many of those that waited go on in a second at most. */
  readonly releasePerSecond: number
}

/** What it knows of a mailbox. */
export type Member = {
  readonly tenant: string
  /** Whether it has a record that could go. */
  readonly pending: boolean
}

export type SharedBreakerHost<M> = {
  /** Whether nothing else keeps the member, so that it could go as a probe. */
  free(member: M): boolean
  /** The member may go; one that `isProbe` with a single record. */
  go(member: M): void
  /** The probe has not answered in time. */
  overdue(member: M): void
  /** The circuit is another; `member` is the last that was heard of, where one was. */
  changed(member: M | null): void
  /** The end of what a timer began. */
  settled(): void
}

/** Members without anything that could go now are looked at again after this. */
const lookAgainMs = 1_000

/**
 * One circuit breaker for all tenants of an actor that call one dependency. It opens when the dependency fails most of
 * them, and those that it fails wait here together: each probe comes from another tenant, and when it closes they go on
 * in steps. A tenant whose calls succeed never comes here, so that it waits for nobody else's trouble.
 */
export class SharedBreaker<M extends Member> {
  readonly #clock: Clock
  readonly #settings: SharedBreakerSettings
  readonly #host: SharedBreakerHost<M>
  readonly #tally: TenantTally
  readonly #members: SteppedRelease<M>
  #circuit: Circuit | null = null
  #probe: { readonly member: M; readonly number: number } | null = null
  #probes = 0
  #lastTenant = ''
  #timer: Timer | null = null
  #stopped = false

  constructor(clock: Clock, settings: SharedBreakerSettings, host: SharedBreakerHost<M>) {
    this.#clock = clock
    this.#settings = settings
    this.#host = host
    this.#tally = new TenantTally(settings.sharedWindowMs)
    this.#members = new SteppedRelease(
      clock,
      settings.releasePerSecond,
      (member) => host.go(member),
      () => host.settled(),
    )
  }

  get circuit(): Circuit | null {
    return this.#circuit
  }

  get isClosed(): boolean {
    return isClosed(this.#circuit)
  }

  /** Mailboxes that wait here. */
  get waiting(): number {
    return this.#members.size
  }

  /** Nobody waits, and nothing is remembered. */
  get idle(): boolean {
    return this.isClosed && this.#members.size === 0 && !this.#tally.counting
  }

  has(member: M): boolean {
    return this.#members.has(member)
  }

  members(): Iterable<M> {
    return this.#members.values()
  }

  isProbe(member: M): boolean {
    return this.#probe?.member === member
  }

  /** As an earlier owner left it. */
  restore(circuit: Circuit): void {
    if (!this.isClosed) return
    this.#become(circuit, null)
  }

  /** The dependency has failed the member, `inARow` times while its own circuit counted. Whether it waits here now. */
  failed(member: M, inARow: number): boolean {
    const now = this.#clock.monotonic()
    if (this.isProbe(member)) {
      this.#answer('failed', member)
    } else if (this.isClosed) {
      this.#tally.failed(member.tenant, inARow > 1, now)
      const { sharedTenants, sharedRatio } = this.#settings
      if (this.#tally.failsMost(sharedTenants, sharedRatio)) this.#apply({ kind: 'opened' }, member)
      // Failures in a row count only while those that waited are let go: else the tally decides.
      else if (this.#members.running) this.#apply({ kind: 'failed', probe: 0 }, member)
    }
    if (this.isClosed) return false
    this.join(member)
    return true
  }

  /** The dependency has served the member. */
  succeeded(member: M): void {
    if (this.isProbe(member)) this.#answer('succeeded', member)
    else if (this.isClosed && this.#circuit !== null) this.#apply({ kind: 'succeeded', probe: 0 }, member)
    this.#tally.served(member.tenant, this.#clock.monotonic())
  }

  /** The probe has ended without calling the dependency: another goes. */
  abandoned(member: M): void {
    if (this.isProbe(member)) this.#answer('abandoned', member)
  }

  /** The member waits until it may go. */
  join(member: M): void {
    this.#members.add(member)
    if (this.isClosed) this.#members.start()
  }

  /** The member has gone for good. */
  leave(member: M): void {
    this.#members.delete(member)
    this.abandoned(member)
  }

  /** Closes at once, whatever is known of the dependency. */
  reset(): void {
    this.#probe = null
    this.#tally.clear()
    this.#become(null, null)
  }

  /** Nobody goes any more, and it stays as it is for whoever takes it over. */
  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#members.halt()
  }

  #answer(kind: 'succeeded' | 'failed' | 'abandoned', member: M): void {
    const number = this.#probe?.number ?? 0
    this.#probe = null
    this.#apply({ kind, probe: number }, member)
  }

  #apply(event: CircuitEvent, member: M): void {
    this.#become(transition(this.#circuit, event, this.#clock.monotonic(), this.#settings), member)
  }

  #become(circuit: Circuit | null, member: M | null): void {
    const before = this.#circuit
    if (circuit === before) return
    this.#circuit = circuit
    const closed = isClosed(circuit)
    if (!closed || !isClosed(before)) this.#host.changed(member)
    this.#timer?.cancel()
    this.#timer = null
    if (closed && !isClosed(before)) {
      this.#tally.clear()
      this.#members.start()
    } else if (circuit !== null && !closed) {
      this.#members.halt()
      this.#await(circuit)
    }
  }

  /** Wakes up when something is to be done. */
  #await(circuit: Circuit): void {
    if (circuit.phase === 'open') this.#wake(circuit.probeAt, () => this.#choose())
    else if (circuit.phase === 'half-open' && circuit.probe === 0) this.#wake(0, () => this.#choose())
    else if (circuit.phase === 'half-open') this.#wake(circuit.deadline, () => this.#late())
  }

  #wake(at: number, then: () => void): void {
    if (this.#stopped) return
    this.#timer = this.#clock.after(Math.max(0, at - this.#clock.monotonic()), () => {
      this.#timer = null
      then()
      this.#host.settled()
    })
  }

  /** The next probe is of the member that has waited longest, and not of the tenant of the last. */
  #choose(): void {
    const now = this.#clock.monotonic()
    if (this.#circuit === null || isClosed(this.#circuit)) return
    // A timer may be early by a fraction of a millisecond.
    if (!mayProbe(this.#circuit, now)) return this.#await(this.#circuit)
    let same: M | null = null
    let kept = false
    for (const member of this.#members.values()) {
      if (!member.pending) continue
      if (!this.#host.free(member)) kept = true
      else if (member.tenant !== this.#lastTenant) return this.#send(member)
      else same ??= member
    }
    if (same !== null) return this.#send(same)
    if (kept) this.#wake(now + lookAgainMs, () => this.#choose())
    else this.reset()
  }

  #send(member: M): void {
    const number = ++this.#probes
    this.#lastTenant = member.tenant
    this.#members.add(member)
    this.#probe = { member, number }
    this.#apply({ kind: 'probe', probe: number }, member)
    this.#host.go(member)
  }

  #late(): void {
    const member = this.#probe?.member ?? null
    if (member === null) return
    this.#answer('failed', member)
    this.#host.overdue(member)
  }
}
