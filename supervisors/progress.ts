import type { Range } from '../core/postgres/transactions.ts'

/**
 * What is done of a partition: everything below `watermark`, and ranges above it. Positions are the log's, so a record
 * covers the gap before it too (compacted records, transaction markers) and neighbours always touch.
 *
 * Two parallel arrays instead of objects: a commit copies it, and with a thousand tenants it holds some hundred ranges.
 */
export class Progress {
  #watermark: number
  #from: number[]
  #to: number[]

  constructor(watermark: number, ahead: readonly Range[] = []) {
    this.#watermark = watermark
    this.#from = []
    this.#to = []
    for (const [from, to] of ahead) this.add(from, to)
  }

  get watermark(): number {
    return this.#watermark
  }

  /** The end of the last done range, or the watermark. */
  get end(): number {
    return this.#to.at(-1) ?? this.#watermark
  }

  get ahead(): Range[] {
    return this.#from.map((from, i): Range => [from, this.#to[i] ?? from])
  }

  /** How many ranges there are above the watermark. */
  get ranges(): number {
    return this.#from.length
  }

  /** Where the middle one of them begins; the watermark where there is none. */
  get middle(): number {
    return this.#from[this.#from.length >>> 1] ?? this.#watermark
  }

  copy(): Progress {
    const copy = new Progress(this.#watermark)
    copy.#from = this.#from.slice()
    copy.#to = this.#to.slice()
    return copy
  }

  has(position: number): boolean {
    if (position < this.#watermark) return true
    const i = this.#firstEndingAtOrAfter(position + 1)
    const from = this.#from[i]
    return from !== undefined && from <= position
  }

  /** Marks [from, to) done. Overlaps are harmless. */
  add(from: number, to: number): void {
    if (to <= this.#watermark || to <= from) return
    // The first range that touches or follows `from`, then all that the new one swallows.
    const first = this.#firstEndingAtOrAfter(from)
    let last = first
    let start = from
    let end = to
    for (; last < this.#from.length; last++) {
      const rangeFrom = this.#from[last] ?? 0
      if (rangeFrom > end) break
      if (rangeFrom < start) start = rangeFrom
      const rangeTo = this.#to[last] ?? 0
      if (rangeTo > end) end = rangeTo
    }
    if (start <= this.#watermark) {
      this.#watermark = end
      this.#from.splice(0, last)
      this.#to.splice(0, last)
    } else if (last === first + 1) {
      this.#from[first] = start
      this.#to[first] = end
    } else {
      this.#from.splice(first, last - first, start)
      this.#to.splice(first, last - first, end)
    }
  }

  /** Index of the first range whose end is at or after `position`. */
  #firstEndingAtOrAfter(position: number): number {
    let low = 0
    let high = this.#to.length
    // Most records extend the last range.
    if (high > 0 && (this.#to[high - 1] ?? 0) < position) return high
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#to[middle] ?? 0) < position) low = middle + 1
      else high = middle
    }
    return low
  }
}
