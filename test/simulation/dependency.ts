import type { EventLoop } from './event-loop.ts'
import type { Outage } from './schedule.ts'

/** What actors call, which is away for some tenants at some times. */
export class Dependency {
  readonly #loop: EventLoop
  #outages: readonly Outage[]

  constructor(loop: EventLoop, outages: readonly Outage[]) {
    this.#loop = loop
    this.#outages = outages
  }

  /** From here on it is there. */
  heal(): void {
    this.#outages = []
  }

  serves(tenant: string): boolean {
    const { now } = this.#loop
    return !this.#outages.some(({ from, to, share }) => from <= now && now < to && placeOf(tenant) < share)
  }
}

/** In [0, 1), the same for a tenant always. */
function placeOf(tenant: string): number {
  let hash = 0
  for (let i = 0; i < tenant.length; i++) hash = Math.imul(hash ^ tenant.charCodeAt(i), 0x9e3779b1)
  return (hash >>> 0) / 0x1_0000_0000
}
