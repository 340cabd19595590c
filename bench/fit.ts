/** How a cost grows with a size: cost = factor × size ^ exponent, by least squares in the logarithms of both. */
export type Fit = {
  readonly exponent: number
  readonly factor: number
  /** How many times above or below the line the point lies that is furthest from it; 1 when all lie on it. */
  readonly furthest: number
  readonly points: number
}

export type Point = readonly [size: number, cost: number]

/** Through fewer any line goes well enough. */
const leastPoints = 3

/** Undefined for fewer than three different sizes. What is 0 or less has no logarithm, and is left out. */
export function fitOf(points: readonly Point[]): Fit | undefined {
  const logs = points.flatMap(([size, cost]) =>
    size > 0 && cost > 0 ? [[Math.log(size), Math.log(cost)] as const] : [],
  )
  const mean = (of: 0 | 1) => logs.reduce((sum, log) => sum + log[of], 0) / logs.length
  const [x, y] = [mean(0), mean(1)]
  const spread = logs.reduce((sum, [size]) => sum + (size - x) ** 2, 0)
  if (new Set(logs.map(([size]) => size)).size < leastPoints) return undefined
  const exponent = logs.reduce((sum, [size, cost]) => sum + (size - x) * (cost - y), 0) / spread
  const offset = y - exponent * x
  const furthest = Math.exp(Math.max(...logs.map(([size, cost]) => Math.abs(cost - offset - exponent * size))))
  return { exponent, factor: Math.exp(offset), furthest, points: logs.length }
}

/** Up to which exponent growth is called what. */
const names: readonly (readonly [exponent: number, name: string])[] = [
  [-0.1, 'falls'],
  [0.1, 'flat'],
  [0.4, 'grows slowly'],
  [0.6, 'grows like the square root'],
  [0.85, 'grows more slowly than linear'],
  [1.15, 'linear'],
  [1.85, 'grows faster than linear'],
  [2.15, 'quadratic'],
]

/** Points further off than this are on no line. */
const believable = 2

/** A fit as a person says it: `linear (×10.2 for ten times as much)`. */
export function inWords(fit: Fit | undefined): string {
  if (fit === undefined) return 'too few points'
  const { exponent, furthest } = fit
  const tenfold = `×${(10 ** exponent).toPrecision(3)} for ten times as much`
  if (furthest > believable) return `on no line: a point is ${furthest.toPrecision(2)} times off (${tenfold})`
  const name = names.find(([most]) => exponent <= most)?.[1] ?? 'grows faster than quadratic'
  return `${name} (${tenfold})`
}
