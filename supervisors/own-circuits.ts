import { type Circuit, isClosed } from '../core/circuit-breaker.ts'
import type { Partition } from './partition.ts'

/** Of one tenant in one partition, for one dependency. */
export type Place = { readonly partition: Partition; readonly dependency: string; readonly tenant: string }

/**
 * The circuits of mailboxes. They outlive the mailbox, which may be forgotten while nothing is in it; one that is closed
 * and has seen no failure takes no memory. Measured on Node 24 with 100,000 tenants: 101 bytes for each that is open, 117 with a probe under way.
 */
export class OwnCircuits {
  /** By dependency and tenant. */
  readonly #partitions = new Map<Partition, Map<string, Map<string, Circuit>>>()

  get size(): number {
    return this.#partitions.size
  }

  get({ partition, dependency, tenant }: Place): Circuit | null {
    return this.#partitions.get(partition)?.get(dependency)?.get(tenant) ?? null
  }

  set({ partition, dependency, tenant }: Place, circuit: Circuit | null): void {
    const dependencies = this.#partitions.get(partition) ?? new Map<string, Map<string, Circuit>>()
    const circuits = dependencies.get(dependency) ?? new Map<string, Circuit>()
    if (circuit !== null) {
      circuits.set(tenant, circuit)
      dependencies.set(dependency, circuits)
      this.#partitions.set(partition, dependencies)
    } else if (circuits.delete(tenant) && circuits.size === 0 && dependencies.delete(dependency)) {
      if (dependencies.size === 0) this.#partitions.delete(partition)
    }
  }

  /** The tenants that have one for this dependency of this actor, and where. */
  *places(group: string, actor: string, dependency: string): Iterable<Place> {
    for (const [partition, dependencies] of this.#partitions) {
      if (partition.group.name !== group || partition.actor.name !== actor) continue
      for (const tenant of [...(dependencies.get(dependency)?.keys() ?? [])]) yield { partition, dependency, tenant }
    }
  }

  /** How many are not closed, by partition and dependency. */
  *open(): Iterable<Omit<Place, 'tenant'> & { readonly count: number }> {
    for (const [partition, dependencies] of this.#partitions) {
      for (const [dependency, circuits] of dependencies) {
        let count = 0
        for (const circuit of circuits.values()) if (!isClosed(circuit)) count++
        if (count > 0) yield { partition, dependency, count }
      }
    }
  }

  drop(partition: Partition): void {
    this.#partitions.delete(partition)
  }
}
