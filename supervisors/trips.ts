import type { Clock } from '../core/clock.ts'
import type { Trip } from '../core/postgres/ownership.ts'
import type { Mailbox } from './mailbox.ts'
import { SteppedRelease } from './stepped-release.ts'

/** A trip, and the mailboxes that it keeps; they are let go in steps when it has ended. */
type Kept = { readonly trip: Trip; ended: boolean; readonly mailboxes: SteppedRelease<Mailbox> }

/**
 * Breakers that an operator has tripped: for a tenant or for all, whatever the dependency does. What a record will call
 * nobody knows beforehand, so all records of the actor wait, where an ordinary breaker keeps those that were failed.
 */
export class Trips {
  readonly #release: () => SteppedRelease<Mailbox>
  readonly #kept = new Map<number, Kept>()

  /** `go` is called for each mailbox that has been kept, `settled` at the end of what a timer began. */
  constructor(clock: Clock, mostPerSecond: number, go: (mailbox: Mailbox) => void, settled: () => void) {
    this.#release = () => new SteppedRelease(clock, mostPerSecond, go, settled)
  }

  get size(): number {
    return this.#kept.size
  }

  /** These are in force now. Returns those that were not before. */
  update(trips: readonly Trip[]): readonly Trip[] {
    const more = trips.filter(({ id }) => !this.#kept.has(id))
    for (const trip of more) this.#kept.set(trip.id, { trip, ended: false, mailboxes: this.#release() })
    const inForce = new Set(trips.map(({ id }) => id))
    for (const [id, kept] of this.#kept) {
      if (!inForce.has(id) && !kept.ended) {
        kept.ended = true
        kept.mailboxes.start()
      }
      if (kept.ended && kept.mailboxes.size === 0) this.#kept.delete(id)
    }
    return more
  }

  /** Whether the mailbox must wait, and from now on does. */
  keeps(mailbox: Mailbox): boolean {
    for (const { trip, ended, mailboxes } of this.#kept.values()) {
      if (mailboxes.has(mailbox)) return true
      if (ended || !concerns(trip, mailbox)) continue
      mailboxes.add(mailbox)
      return true
    }
    return false
  }

  /** The dependency of the trip for which the mailbox waits. */
  keptFrom(mailbox: Mailbox): string | null {
    for (const { trip, mailboxes } of this.#kept.values()) if (mailboxes.has(mailbox)) return trip.dependency
    return null
  }

  left(mailbox: Mailbox): void {
    for (const { mailboxes } of this.#kept.values()) mailboxes.delete(mailbox)
  }

  stop(): void {
    for (const { mailboxes } of this.#kept.values()) mailboxes.halt()
  }
}

function concerns({ group, actor, dependency, tenant }: Trip, mailbox: Mailbox): boolean {
  if (group !== mailbox.partition.group.name || actor !== mailbox.actor.name) return false
  return (tenant === '' || tenant === mailbox.tenant) && mailbox.actor.dependencies.includes(dependency)
}
