import type { Decision, Dispatch } from '../../core/workers.ts'

/** A mailbox as workers have it. */
type Box = { run: number; readonly actor: number; readonly place: string; worker: number; outstanding: number }

/**
 * Watches what a daemon sends while it says itself that a breaker is open: of a mailbox with a breaker of its own one
 * record at a time, and of all those that have failed and share one, one record altogether.
 */
export class ProbeWatch {
  readonly #breach: (what: string) => void
  readonly #mark: (what: string) => void
  readonly #boxes = new Map<number, Box>()
  /** Mailboxes whose dependency has failed them last. */
  readonly #failed = new Set<number>()
  readonly #open = new Set<string>()
  /** Actors whose shared breaker is open, and the mailbox that probes it. */
  readonly #shared = new Map<number, number | null>()

  constructor(breach: (what: string) => void, mark: (what: string) => void) {
    this.#breach = breach
    this.#mark = mark
  }

  /** A breaker opens or closes; `place` is the mailbox's, null for the shared one of an actor. */
  breaker(actor: number, place: string | null, open: boolean): void {
    this.#mark(`${place === null ? 'shared ' : ''}breaker ${open ? 'opened' : 'closed'}`)
    if (place !== null) {
      if (open) this.#open.add(place)
      else this.#open.delete(place)
      return
    }
    if (open) this.#shared.set(actor, null)
    else this.#shared.delete(actor)
    for (const mailbox of [...this.#failed]) {
      const box = this.#boxes.get(mailbox)
      // What is under way when it opens has not heard of it: its answer says whether it waits, too.
      if (box?.actor === actor && (!open || box.outstanding > 0)) this.#failed.delete(mailbox)
    }
  }

  /** What an earlier owner has left of a partition's breakers is not known here. */
  owned(partition: string): void {
    for (const place of this.#open) if (place.startsWith(`${partition}/`)) this.#open.delete(place)
  }

  dispatched(worker: number, { mailbox, run, opening, records }: Dispatch): void {
    if (opening !== null) {
      const place = placeOf(opening.actor, opening.partition, opening.tenant)
      this.#boxes.set(mailbox, { run, actor: opening.actor, place, worker, outstanding: 0 })
    }
    const box = this.#boxes.get(mailbox)
    if (box === undefined) return
    const shares = this.#shared.has(box.actor) && this.#failed.has(mailbox)
    box.outstanding += records.length
    if (!shares && !this.#open.has(box.place)) return
    this.#mark(shares ? 'shared probe' : 'probe')
    if (box.outstanding > 1) this.#breach(`${box.outstanding} records of ${box.place} while its breaker is open`)
    if (!shares) return
    const other = this.#shared.get(box.actor) ?? mailbox
    if (other !== mailbox) this.#breach(`two probes at once: of ${box.place} and ${this.#boxes.get(other)?.place}`)
    this.#shared.set(box.actor, mailbox)
  }

  /** Before the daemon hears of them. */
  decided(decisions: readonly Decision[]): void {
    for (const { mailbox, run, outcome } of decisions) {
      const box = this.#boxes.get(mailbox)
      if (box?.run !== run) continue
      box.outstanding--
      if (this.#shared.get(box.actor) === mailbox) this.#shared.set(box.actor, null)
      if (outcome.kind === 'failed' && outcome.failure.dependency !== undefined) this.#failed.add(mailbox)
      else if (!this.#shared.has(box.actor)) this.#failed.delete(mailbox)
    }
  }

  forgotten(mailboxes: readonly number[]): void {
    for (const mailbox of mailboxes) {
      const box = this.#boxes.get(mailbox)
      if (box === undefined) continue
      // What its run still decides nobody hears.
      box.run = 0
      box.outstanding = 0
      if (this.#shared.get(box.actor) === mailbox) this.#shared.set(box.actor, null)
    }
  }

  lost(worker: number): void {
    this.forgotten([...this.#boxes].flatMap(([mailbox, box]) => (box.worker === worker ? [mailbox] : [])))
  }
}

export function placeOf(actor: number, partition: number, tenant: string): string {
  return `${actor}/${partition}/${tenant}`
}
