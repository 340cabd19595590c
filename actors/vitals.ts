import type { Executing } from '../core/workers.ts'

/** Words before the table of what executes. */
const beats = 0
const held = 1
const abandoned = 2
const current = 3
const table = 4

/**
 * What a thread shows of itself in memory that it shares with the supervisor: there to be read when the thread cannot
 * answer, and after a death without a last word. Stores are plain ones, because they are made for every record (an atomic
 * one costs as much as all the others together) and nobody waits for them: what is read a moment late is read in time.
 */
export class Vitals {
  readonly memory: SharedArrayBuffer
  readonly #words: Float64Array<SharedArrayBuffer>

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#words = new Float64Array(memory)
  }

  /** Memory for a thread that executes at most `places` mailboxes at once. */
  static memoryFor(places: number): SharedArrayBuffer {
    return new SharedArrayBuffer((table + 2 * places) * Float64Array.BYTES_PER_ELEMENT)
  }

  get places(): number {
    return (this.#words.length - table) / 2
  }

  /** Changes as long as the thread's event loop turns, or record follows record: offsets grow. */
  get signOfLife(): number {
    const now = this.#words[current] ?? 0
    return (this.#words[beats] ?? 0) + now + (now === 0 ? 0 : (this.#words[table + 2 * (now - 1) + 1] ?? 0))
  }

  beat(): void {
    this.#words[beats] = (this.#words[beats] ?? 0) + 1
  }

  /** Heap and buffers of this thread, in bytes, by its own count. */
  get heldBytes(): number {
    return this.#words[held] ?? 0
  }

  set heldBytes(bytes: number) {
    this.#words[held] = bytes
  }

  /** Handlers that have not ended though their time, and then some, was over. */
  get abandoned(): number {
    return this.#words[abandoned] ?? 0
  }

  set abandoned(count: number) {
    this.#words[abandoned] = count
  }

  /** The mailbox has the place from here on. */
  entered(place: number, mailbox: number): void {
    this.#words[table + 2 * place] = mailbox + 1
  }

  /** A record of it begins: its code has the thread until `yielded`. */
  began(place: number, offset: number): void {
    const words = this.#words
    words[current] = place + 1
    words[table + 2 * place + 1] = offset
  }

  /** The record that began last has ended, or waits for a promise. */
  yielded(): void {
    this.#words[current] = 0
  }

  /** The mailbox at `place` executes nothing any more. */
  ended(place: number): void {
    this.#words[table + 2 * place] = 0
  }

  /** Records that began and have not ended. */
  executing(): Executing[] {
    const all: Executing[] = []
    for (let place = 0; place < this.places; place++) {
      const one = this.#at(place)
      if (one !== undefined) all.push(one)
    }
    return all
  }

  /** The one of them whose code has the thread, where it began and has not waited yet: what goes on after an `await` cannot be told. */
  get executingNow(): Executing | undefined {
    return this.#at((this.#words[current] ?? 0) - 1)
  }

  #at(place: number): Executing | undefined {
    const mailbox = place < 0 ? 0 : (this.#words[table + 2 * place] ?? 0)
    return mailbox === 0 ? undefined : { mailbox: mailbox - 1, offset: this.#words[table + 2 * place + 1] ?? 0 }
  }
}
