/** From values to places along an axis. */
export type Scale = {
  readonly ticks: readonly number[]
  at(value: number): number
}

export type Span = { readonly from: number; readonly to: number }

/** Whole decades around the values, which must be above 0; those that are not are left out. */
export function logScale(values: readonly number[], place: Span): Scale {
  const known = values.filter((value) => value > 0)
  const low = Math.floor(Math.log10(Math.min(...known, Number.MAX_VALUE)) + 1e-9)
  const high = Math.ceil(Math.log10(Math.max(...known, Number.MIN_VALUE)) - 1e-9)
  const [from, to] = known.length === 0 ? [0, 1] : [low, Math.max(high, low + 1)]
  const at = (value: number) => between(place, (Math.log10(value) - from) / (to - from))
  return { at, ticks: Array.from({ length: to - from + 1 }, (_, i) => Number(`1e${from + i}`)) }
}

/** From 0, or below it where values are, to a round number above all of them. */
export function linearScale(values: readonly number[], place: Span): Scale {
  const known = values.filter(Number.isFinite)
  const [least, most] = [Math.min(0, ...known), Math.max(0, ...known)]
  const step = roundStep((most - least || 1) / 5)
  const [from, to] = [Math.floor(least / step + 1e-9) * step, Math.ceil((most || step) / step - 1e-9) * step]
  const ticks = Array.from({ length: Math.round((to - from) / step) + 1 }, (_, i) =>
    Number((from + i * step).toPrecision(12)),
  )
  return { at: (value) => between(place, (value - from) / (to - from)), ticks }
}

/** 1, 2 or 5 times a power of ten, at least `least`. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least))
  return ([1, 2, 5].find((times) => times * power >= least * (1 - 1e-9)) ?? 10) * power
}

function between({ from, to }: Span, share: number): number {
  return from + (to - from) * share
}
