/** Shared by all queues that are empty, which most are: a tenant that is warm has two. */
const nothing: undefined[] = [undefined]
// It has held something, so V8 takes it for an array of the same kind as the others.
nothing.length = 0

/** A first-in first-out queue whose `shift` costs the same whatever its length; an Array's does not. */
export class Fifo<T> {
  #items: (T | undefined)[] = nothing
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  push(item: T): void {
    if (this.#items === nothing) this.#items = []
    this.#items.push(item)
  }

  /** The item at `index` from the front; undefined past the end. */
  at(index: number): T | undefined {
    return this.#items[this.#head + index]
  }

  shift(): T | undefined {
    const item = this.#items[this.#head]
    if (this.#head === this.#items.length) return undefined
    this.#items[this.#head++] = undefined
    if (this.#head === this.#items.length) {
      this.#items = nothing
      this.#head = 0
    } else if (this.#head >= 1_024 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Drops everything from `index` on and returns it, in order. */
  truncate(index: number): T[] {
    const dropped: T[] = []
    for (let i = this.#head + index; i < this.#items.length; i++) {
      const item = this.#items[i]
      if (item !== undefined) dropped.push(item)
    }
    this.#items.length = this.#head + Math.min(index, this.length)
    return dropped
  }
}
