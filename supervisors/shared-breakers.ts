import type { Circuit } from '../core/circuit-breaker.ts'
import type { Clock } from '../core/clock.ts'
import type { OpenBreakers } from '../core/metrics.ts'
import type { Mailbox } from './mailbox.ts'
import type { Partition } from './partition.ts'
import { SharedBreaker, type SharedBreakerSettings } from './shared-breaker.ts'

export type SharedBreakersHost = {
  /** Whether no circuit of the mailbox's own keeps it. */
  free(mailbox: Mailbox): boolean
  go(mailbox: Mailbox): void
  overdue(mailbox: Mailbox): void
  /** The circuit is to be written down in commits of `home`. */
  record(home: Partition, dependency: string, circuit: Circuit | null): void
  news(partition: Pick<Partition, 'group' | 'actor'>, dependency: string, open: boolean): void
  settled(): void
}

type Shared = {
  readonly breaker: SharedBreaker<Mailbox>
  readonly key: string
  readonly group: string
  readonly actor: string
  readonly dependency: string
  /** The partition whose commits write its row; null while it has none. */
  home: Partition | null
  open: boolean
}

/** The shared breakers of a daemon, by group, actor and dependency. Each has one row, in one of its partitions. */
export class SharedBreakers {
  readonly #clock: Clock
  readonly #settings: SharedBreakerSettings
  readonly #host: SharedBreakersHost
  readonly #shared = new Map<string, Shared>()

  constructor(clock: Clock, settings: SharedBreakerSettings, host: SharedBreakersHost) {
    this.#clock = clock
    this.#settings = settings
    this.#host = host
  }

  get size(): number {
    return this.#shared.size
  }

  /** What the mailbox is to the shared breakers of its dependencies: it is in one of them at most. */
  holds(mailbox: Mailbox): 'nothing' | 'waits' | 'probes' {
    for (const { breaker } of this.#of(mailbox))
      if (breaker.has(mailbox)) return breaker.isProbe(mailbox) ? 'probes' : 'waits'
    return 'nothing'
  }

  /** The dependency of the shared breaker for which the mailbox waits. */
  keptFrom(mailbox: Mailbox): string | null {
    for (const { breaker, dependency } of this.#of(mailbox)) if (breaker.has(mailbox)) return dependency
    return null
  }

  /** The mailbox, which this dependency has failed lately, waits for its shared breaker; false: that is closed. */
  join(mailbox: Mailbox, dependency: string): boolean {
    const shared = this.#shared.get(keyOf(mailbox.partition, dependency))
    if (shared === undefined || shared.breaker.isClosed) return false
    this.#leaveOthers(mailbox, shared)
    shared.breaker.join(mailbox)
    return true
  }

  /** The dependency has failed the mailbox, so many times in a row. Whether it waits for the shared breaker now. */
  failed(mailbox: Mailbox, dependency: string, inARow: number): boolean {
    const shared = this.#take(mailbox.partition, dependency)
    const waits = shared.breaker.failed(mailbox, inARow)
    if (waits) this.#leaveOthers(mailbox, shared)
    return waits
  }

  succeeded(mailbox: Mailbox, dependency: string): void {
    const shared = this.#shared.get(keyOf(mailbox.partition, dependency))
    if (shared === undefined) return
    shared.breaker.succeeded(mailbox)
    this.#tidy(shared)
  }

  abandoned(mailbox: Mailbox): void {
    for (const { breaker } of this.#of(mailbox)) breaker.abandoned(mailbox)
  }

  left(mailbox: Mailbox): void {
    this.#leaveOthers(mailbox, null)
  }

  /** An earlier owner of the partition has left one that is due at `probeAt`. */
  restore(partition: Partition, dependency: string, failures: number, probeAt: number): void {
    const shared = this.#take(partition, dependency)
    if (shared.home !== null) {
      // Another daemon's: ours has its own row.
      this.#host.record(partition, dependency, null)
      return
    }
    shared.home = partition
    if (shared.open) return
    shared.open = true
    shared.breaker.restore({ phase: 'open', failures, probeAt })
  }

  /** The partition is not ours any more: what it wrote down is its next owner's, and ours is written elsewhere. */
  dropped(partition: Partition): void {
    for (const shared of this.#shared.values()) {
      if (shared.home !== partition) continue
      shared.home = null
      for (const member of shared.breaker.members()) {
        this.#record(shared, member.partition)
        break
      }
    }
  }

  reset(group: string, actor: string, dependency: string): void {
    const shared = this.#shared.get(keyOf({ group: { name: group }, actor: { name: actor } }, dependency))
    if (shared === undefined) return
    shared.breaker.reset()
    this.#tidy(shared)
  }

  open(): readonly OpenBreakers[] {
    return [...this.#shared.values()].flatMap(({ open, group, actor, dependency }) =>
      open ? [{ group, actor, dependency, scope: 'all' as const, count: 1 }] : [],
    )
  }

  stop(): void {
    for (const { breaker } of this.#shared.values()) breaker.stop()
  }

  *#of(mailbox: Mailbox): Iterable<Shared> {
    for (const dependency of mailbox.actor.dependencies) {
      const shared = this.#shared.get(keyOf(mailbox.partition, dependency))
      if (shared !== undefined) yield shared
    }
  }

  #leaveOthers(mailbox: Mailbox, but: Shared | null): void {
    for (const shared of this.#of(mailbox)) {
      if (shared === but) continue
      shared.breaker.leave(mailbox)
      this.#tidy(shared)
    }
  }

  #take(partition: Partition, dependency: string): Shared {
    const key = keyOf(partition, dependency)
    const known = this.#shared.get(key)
    if (known !== undefined) return known
    const { group, actor } = partition
    const breaker: SharedBreaker<Mailbox> = new SharedBreaker(this.#clock, this.#settings, {
      free: (member) => this.#host.free(member),
      go: (member) => this.#host.go(member),
      overdue: (member) => this.#host.overdue(member),
      changed: (member) => {
        const open = !breaker.isClosed
        if (open !== shared.open) this.#host.news({ group, actor }, dependency, open)
        shared.open = open
        this.#record(shared, member?.partition ?? null)
      },
      settled: () => this.#host.settled(),
    })
    const shared: Shared = { breaker, key, group: group.name, actor: actor.name, dependency, home: null, open: false }
    this.#shared.set(key, shared)
    return shared
  }

  #record(shared: Shared, partition: Partition | null): void {
    const { breaker, dependency } = shared
    if (!breaker.isClosed) shared.home ??= partition
    if (shared.home !== null) this.#host.record(shared.home, dependency, breaker.circuit)
    if (breaker.isClosed) shared.home = null
  }

  #tidy({ breaker, key }: Shared): void {
    if (breaker.idle) this.#shared.delete(key)
  }
}

function keyOf(
  { group, actor }: { readonly group: { readonly name: string }; readonly actor: { readonly name: string } },
  dependency: string,
): string {
  return `${group.name}\n${actor.name}\n${dependency}`
}
