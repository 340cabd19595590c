import { TenantryError } from '../core/errors.ts'
import type { ContextServices } from './context.ts'
import type { IncomingDispatch } from './dispatch-frame.ts'
import type { Actor } from './define-actor.ts'
import { type Decide, Instance, LoadedActor } from './instance.ts'

/** The mailboxes that a thread runs now. Different ones run concurrently, each of them strictly in order. */
export class Instances {
  readonly #actors: readonly LoadedActor[]
  readonly #services: ContextServices
  readonly #decide: Decide
  readonly #instances = new Map<number, Instance>()

  constructor(actors: readonly Actor[], services: ContextServices, decide: Decide) {
    this.#actors = actors.map((actor) => new LoadedActor(actor))
    this.#services = services
    this.#decide = decide
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
      instance = new Instance(mailbox, run, opening, loaded, this.#services, this.#decide)
      this.#instances.set(mailbox, instance)
    }
    // Records of a run that has ended here are dropped; whoever sent them knows, or will.
    if (instance === undefined || instance.run !== run) return
    instance.accept(records)
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
