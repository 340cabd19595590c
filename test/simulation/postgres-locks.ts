/** Exclusive locks with fair queues, by name. Holders keep them until their transactions end. */
export class Locks<Holder> {
  readonly #holders = new Map<string, Holder>()
  readonly #queues = new Map<string, { readonly holder: Holder; readonly granted: () => void }[]>()
  readonly #held = new Map<Holder, Set<string>>()
  readonly #waiting = new Map<Holder, string>()

  /** True when the lock is had at once; else `granted` is called when it is. */
  acquire(name: string, holder: Holder, granted: () => void): boolean {
    const owner = this.#holders.get(name)
    if (owner === holder) return true
    if (owner === undefined) {
      this.#take(name, holder)
      return true
    }
    this.#waiting.set(holder, name)
    const queue = this.#queues.get(name)
    if (queue) queue.push({ holder, granted })
    else this.#queues.set(name, [{ holder, granted }])
    return false
  }

  /** The transaction has ended: all it held goes to whoever waits longest. */
  release(holder: Holder): void {
    this.cancel(holder)
    const names = this.#held.get(holder)
    this.#held.delete(holder)
    for (const name of names ?? []) {
      this.#holders.delete(name)
      const queue = this.#queues.get(name)
      const next = queue?.shift()
      if (queue?.length === 0) this.#queues.delete(name)
      if (next === undefined) continue
      this.#waiting.delete(next.holder)
      this.#take(name, next.holder)
      next.granted()
    }
  }

  /** Waits no more. */
  cancel(holder: Holder): void {
    const name = this.#waiting.get(holder)
    if (name === undefined) return
    this.#waiting.delete(holder)
    const rest = (this.#queues.get(name) ?? []).filter((waiter) => waiter.holder !== holder)
    if (rest.length > 0) this.#queues.set(name, rest)
    else this.#queues.delete(name)
  }

  holderOf(name: string): Holder | undefined {
    return this.#holders.get(name)
  }

  /** Whether this one waits for itself, round about. */
  deadlocked(holder: Holder): boolean {
    let other: Holder | undefined = holder
    const seen = new Set<Holder>()
    while (other !== undefined && !seen.has(other)) {
      seen.add(other)
      const name = this.#waiting.get(other)
      other = name === undefined ? undefined : this.#holders.get(name)
      if (other === holder) return true
    }
    return false
  }

  #take(name: string, holder: Holder): void {
    this.#holders.set(name, holder)
    const held = this.#held.get(holder)
    if (held) held.add(name)
    else this.#held.set(holder, new Set([name]))
  }
}
