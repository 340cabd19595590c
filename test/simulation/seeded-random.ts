import type { Random } from '../../core/random.ts'

/**
 * Chance from a seed (sfc32). `fork` gives a stream of its own for each subsystem, so that one more draw in one place
 * does not shift what happens everywhere else.
 */
export class SeededRandom implements Random {
  readonly #name: string
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(name: string) {
    this.#name = name
    const [a, b, c] = scramble(name)
    this.#a = a
    this.#b = b
    this.#c = c
    for (let i = 0; i < 12; i++) this.#draw()
  }

  fork(name: string): SeededRandom {
    return new SeededRandom(`${this.#name}/${name}`)
  }

  next(): number {
    return this.#draw() / 0x1_0000_0000
  }

  /** A whole number in [0, bound). */
  below(bound: number): number {
    return Math.floor(this.next() * bound)
  }

  /** A whole number in [from, to]. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1)
  }

  chance(probability: number): boolean {
    return probability > 0 && this.next() < probability
  }

  pick<T>(items: readonly [T, ...T[]]): T {
    return items[this.below(items.length)] ?? items[0]
  }

  /** One of `items`, undefined where there are none. */
  any<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)]
  }

  /** In (0, …): mostly below `mean`, now and then far above it. */
  delay(mean: number): number {
    return Math.max(0.01, -Math.log(1 - this.next()) * mean)
  }

  uuid(): string {
    const hex = [this.#draw(), this.#draw(), this.#draw(), this.#draw()]
      .map((n) => n.toString(16).padStart(8, '0'))
      .join('')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`
  }

  #draw(): number {
    const t = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t
    this.#c |= 0
    return t >>> 0
  }
}

function scramble(text: string): [number, number, number] {
  let a = 1_779_033_703
  let b = 3_144_134_277
  let c = 1_013_904_242
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    a = Math.imul(b ^ code, 597_399_067)
    b = Math.imul(c ^ code, 2_869_860_233)
    c = Math.imul(a ^ code, 951_274_213)
  }
  return [a | 0, b | 0, c | 0]
}
