import { TenantryError } from '../core/errors.ts'
import type { AskedKey } from '../core/postgres/keys.ts'
import type { ContextServices, IncomingRecord } from './context.ts'
import type { IncomingDispatch } from './dispatch-frame.ts'
import type { Actor } from './define-actor.ts'
import { type Decide, Instance, type InstanceThread } from './instance.ts'
import type { KnownKeys } from './known-keys.ts'
import { LoadedActor } from './loaded-actor.ts'
import { RecentIds } from './recent-ids.ts'
import { Running } from './running.ts'
import { Turns } from './turns.ts'
import { Vitals } from './vitals.ts'

/** Ids that a thread remembers, of actors with dependencies: more than are uncommitted at once by default, 10 MB at most. */
const remembered = 40_000

/** What a thread has around its instances; what is left out is not done. */
export type ThreadParts = {
  /** Looks up what was committed. */
  readonly keys?: KnownKeys | undefined
  /** Shows what executes, and ends what takes too long. */
  readonly running?: Running
  readonly timeoutMs?: number
  readonly began?: InstanceThread['began']
  /** Shares the thread's time; by its clock where it is left out. */
  readonly turns?: Turns
  /** 1 for each where it is left out. */
  readonly weightOf?: InstanceThread['weightOf']
}

/** The mailboxes that a thread runs now. Different ones run concurrently, each of them strictly in order. */
export class Instances {
  readonly #actors: readonly LoadedActor[]
  readonly #thread: InstanceThread
  readonly #keys: KnownKeys | undefined
  readonly #instances = new Map<number, Instance>()

  constructor(actors: readonly Actor[], services: ContextServices, decide: Decide, parts: ThreadParts = {}) {
    const { keys, timeoutMs = Number.POSITIVE_INFINITY, began, weightOf = () => 1 } = parts
    const turns = parts.turns ?? new Turns(services.clock)
    const running = parts.running ?? new Running(new Vitals(Vitals.memoryFor(0)), services.clock, 0)
    this.#actors = actors.map((actor) => new LoadedActor(actor))
    this.#thread = { services, decide, recent: new RecentIds(remembered), running, turns, weightOf, timeoutMs, began }
    this.#keys = keys
  }

  get size(): number {
    return this.#instances.size
  }

  /** Takes what comes without waiting and gives each its turn; decisions follow, some of them before this returns. */
  dispatch(...dispatches: readonly IncomingDispatch[]): void {
    for (const dispatch of dispatches) this.#take(dispatch)
    this.#thread.turns.run()
  }

  #take(dispatch: IncomingDispatch): void {
    const { mailbox, run, opening, records, again } = dispatch
    let instance = this.#instances.get(mailbox)
    if (opening !== null) {
      instance?.end()
      const loaded = this.#actors[opening.actor]
      if (loaded === undefined)
        throw new TenantryError(
          'TENANTRY_TOPOLOGY_DIFFERS',
          `this thread has no actor ${opening.actor}: were the actors' files changed while tenantry ran?`,
        )
      instance = new Instance(mailbox, run, opening, loaded, this.#thread)
      this.#instances.set(mailbox, instance)
    }
    // Records of a run that has ended here are dropped; whoever sent them knows, or will.
    if (instance === undefined || instance.run !== run) return
    if (this.#keys === undefined || !instance.calls) instance.accept(records)
    else this.#lookUp(this.#keys, instance, records, again)
  }

  /** A copy of what was committed must not call again. Answers keep the order, so a mailbox's records do, too. */
  #lookUp(
    keys: KnownKeys,
    instance: Instance,
    records: readonly IncomingRecord[],
    again: IncomingDispatch['again'],
  ): void {
    const askedFor: IncomingRecord[] = []
    const asked: AskedKey[] = []
    records.forEach((record, place) => {
      const key = instance.keyOf(record)
      if (key === null) return
      askedFor.push(record)
      const since = again?.get(place) ?? null
      asked.push({ key, tenant: instance.tenant, group: instance.actor.group, since })
    })
    void keys.known(asked).then((known) => {
      instance.accept(records, new Set(askedFor.filter((_, i) => known[i])))
      this.#thread.turns.run()
    })
  }

  forget(mailboxes: readonly number[]): void {
    for (const mailbox of mailboxes) {
      this.#instances.get(mailbox)?.end()
      this.#instances.delete(mailbox)
    }
  }

  /** Ends every run. */
  end(): void {
    this.forget([...this.#instances.keys()])
  }
}
