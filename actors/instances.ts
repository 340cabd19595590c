import { TenantryError } from '../core/errors.ts'
import type { AskedKey } from '../core/postgres/keys.ts'
import type { ContextServices, IncomingRecord } from './context.ts'
import type { IncomingDispatch } from './dispatch-frame.ts'
import type { Actor } from './define-actor.ts'
import { type Decide, Instance, LoadedActor } from './instance.ts'
import type { KnownKeys } from './known-keys.ts'
import { RecentIds } from './recent-ids.ts'

/** Ids that a thread remembers, of actors with dependencies: more than are uncommitted at once by default, 10 MB at most. */
const remembered = 40_000

/** The mailboxes that a thread runs now. Different ones run concurrently, each of them strictly in order. */
export class Instances {
  readonly #actors: readonly LoadedActor[]
  readonly #services: ContextServices
  readonly #decide: Decide
  readonly #keys: KnownKeys | undefined
  readonly #recent = new RecentIds(remembered)
  readonly #instances = new Map<number, Instance>()

  /** Without `keys`, what was committed is not looked up. */
  constructor(actors: readonly Actor[], services: ContextServices, decide: Decide, keys?: KnownKeys) {
    this.#actors = actors.map((actor) => new LoadedActor(actor))
    this.#services = services
    this.#decide = decide
    this.#keys = keys
  }

  get size(): number {
    return this.#instances.size
  }

  /** Runs what comes without waiting; decisions follow, some of them before this returns. */
  dispatch(dispatch: IncomingDispatch): void {
    const { mailbox, run, opening, records } = dispatch
    let instance = this.#instances.get(mailbox)
    if (opening !== null) {
      instance?.end()
      const loaded = this.#actors[opening.actor]
      if (loaded === undefined)
        throw new TenantryError(
          'TENANTRY_TOPOLOGY_DIFFERS',
          `this thread has no actor ${opening.actor}: were the actors' files changed while tenantry ran?`,
        )
      instance = new Instance(mailbox, run, opening, loaded, this.#services, this.#decide, this.#recent)
      this.#instances.set(mailbox, instance)
    }
    // Records of a run that has ended here are dropped; whoever sent them knows, or will.
    if (instance === undefined || instance.run !== run) return
    if (this.#keys === undefined || !instance.calls) instance.accept(records)
    else this.#lookUp(this.#keys, instance, records)
  }

  /** A copy of what was committed must not call again. Answers keep the order, so a mailbox's records do, too. */
  #lookUp(keys: KnownKeys, instance: Instance, records: readonly IncomingRecord[]): void {
    const offsets: number[] = []
    const asked: AskedKey[] = []
    for (const record of records) {
      const key = instance.keyOf(record)
      if (key === null) continue
      offsets.push(record.offset)
      asked.push({ key, tenant: instance.tenant, group: instance.actor.group })
    }
    void keys.known(asked).then((known) => instance.accept(records, new Set(offsets.filter((_, i) => known[i]))))
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
