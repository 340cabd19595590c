import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Ledger, StateRow } from '../core/postgres/ownership.ts'
import type { Mailbox } from './mailbox.ts'

/** One query reads this many tenants' states at most. */
const maxTenantsPerQuery = 1_000

const retryMs = 500

/**
 * Reads the committed states of mailboxes that are about to start a run, many in one query. A mailbox asks only when
 * nothing of it is undecided or uncommitted, so what is read is what its predecessors made.
 */
export class States {
  readonly #ledger: Ledger
  readonly #clock: Clock
  readonly #loaded: (mailbox: Mailbox, state: StateRow | null) => void
  readonly #settled: () => void
  readonly #trouble: (reason: string | null) => void
  /** Waiting for the next query, by group and actor. */
  readonly #waiting = new Map<string, Mailbox[]>()
  readonly #asking = new Set<string>()
  /** Whose last query failed. */
  readonly #failing = new Set<string>()

  constructor(
    ledger: Ledger,
    clock: Clock,
    events: {
      loaded: (mailbox: Mailbox, state: StateRow | null) => void
      settled: () => void
      trouble: (reason: string | null) => void
    },
  ) {
    this.#ledger = ledger
    this.#clock = clock
    this.#loaded = events.loaded
    this.#settled = events.settled
    this.#trouble = events.trouble
  }

  request(mailbox: Mailbox): void {
    const key = `${mailbox.partition.group.name}\n${mailbox.actor.name}`
    const waiting = this.#waiting.get(key)
    if (waiting) waiting.push(mailbox)
    else this.#waiting.set(key, [mailbox])
  }

  /** Sends a query for each actor that has none on its way. */
  flush(): void {
    for (const [key, waiting] of this.#waiting) {
      if (this.#asking.has(key) || waiting.length === 0) continue
      void this.#ask(key, waiting.splice(0, maxTenantsPerQuery))
      if (waiting.length === 0) this.#waiting.delete(key)
    }
  }

  async #ask(key: string, mailboxes: readonly Mailbox[]): Promise<void> {
    const wanted = mailboxes.filter((mailbox) => !mailbox.closed && mailbox.waiting === 'state')
    const [first] = wanted
    if (first === undefined) return this.#worked(key)
    this.#asking.add(key)
    const runs = wanted.map((mailbox) => mailbox.run)
    const tenants = wanted.map((mailbox) => mailbox.tenant)
    let rows: readonly StateRow[]
    try {
      rows = await this.#ledger.loadStates(first.partition.group.name, first.actor.name, tenants)
    } catch (thrown) {
      this.#failing.add(key)
      this.#trouble(messageOf(thrown))
      for (const mailbox of wanted) this.request(mailbox)
      this.#clock.after(retryMs, () => {
        this.#asking.delete(key)
        this.#settled()
      })
      return
    }
    const byTenant = new Map(rows.map((row) => [row.tenant, row]))
    this.#worked(key)
    wanted.forEach((mailbox, i) => {
      const still = !mailbox.closed && mailbox.waiting === 'state' && mailbox.run === runs[i]
      if (still) this.#loaded(mailbox, byTenant.get(mailbox.tenant) ?? null)
    })
    this.#asking.delete(key)
    this.#settled()
  }

  /** It was answered, or nobody waits for an answer any more. */
  #worked(key: string): void {
    if (this.#failing.delete(key) && this.#failing.size === 0) this.#trouble(null)
  }
}
