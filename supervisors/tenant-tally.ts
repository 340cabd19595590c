/**
 * Which tenants a dependency has failed lately, and which it has served since the first of those failures. Kept only
 * while it fails somebody, so that nothing is counted while all is well.
 */
export class TenantTally {
  readonly #windowMs: number
  /** Tenants and when they were last heard of, longest ago first. */
  readonly #failedOnce = new Map<string, number>()
  readonly #failed = new Map<string, number>()
  readonly #served = new Map<string, number>()

  constructor(windowMs: number) {
    this.#windowMs = windowMs
  }

  /** Whether there is anything to compare with. */
  get counting(): boolean {
    return this.#failed.size + this.#failedOnce.size > 0
  }

  /** Once may be anybody's bad luck: who fails `again`, after a pause, says something of the dependency. */
  failed(tenant: string, again: boolean, now: number): void {
    this.#note(again ? this.#failed : this.#failedOnce, tenant, now)
  }

  served(tenant: string, now: number): void {
    if (this.counting) this.#note(this.#served, tenant, now)
  }

  /** Whether so many tenants fail again and again, and so great a share of all that called. */
  failsMost(tenants: number, ratio: number): boolean {
    const { size } = this.#failed
    return size >= tenants && size > ratio * (size + this.#served.size)
  }

  clear(): void {
    for (const tenants of this.#all()) tenants.clear()
  }

  #note(as: Map<string, number>, tenant: string, now: number): void {
    for (const tenants of this.#all()) {
      tenants.delete(tenant)
      for (const [other, at] of tenants) {
        if (now - at <= this.#windowMs) break
        tenants.delete(other)
      }
    }
    as.set(tenant, now)
    if (!this.counting) this.#served.clear()
  }

  #all() {
    return [this.#failedOnce, this.#failed, this.#served]
  }
}
