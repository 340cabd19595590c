/** What several runs of one kind came to. */
export type Spread = { readonly least: number; readonly median: number; readonly most: number }

/** Undefined when there are none. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  const [least, most] = [sorted[0], sorted.at(-1)]
  return least === undefined || most === undefined ? undefined : { least, median: middle(sorted), most }
}

/** `median`, or `median (least-most)`. */
export function spreadText(values: readonly number[], digits: number): string {
  const spread = spreadOf(values)
  if (spread === undefined) return ''
  const text = (value: number) =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  return spread.least === spread.most
    ? text(spread.median)
    : `${text(spread.median)} (${text(spread.least)}-${text(spread.most)})`
}

function middle(sorted: readonly number[]): number {
  const half = Math.floor(sorted.length / 2)
  const upper = sorted[half] ?? 0
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] ?? 0)) / 2
}
