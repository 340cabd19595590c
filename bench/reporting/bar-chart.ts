import type { Spread } from '../spread.ts'
import { linearScale } from './scale.ts'
import { element, faint, type Frame, ink, label, lookOf, picture } from './svg.ts'

export type BarChart = Pick<Frame, 'title' | 'description'> & {
  readonly unit: string
  /** `look`: which of the looks it has, so that some can stand out. */
  readonly bars: readonly (Spread & { readonly name: string; readonly look?: number })[]
}

const width = 720
const [right, top, row] = [620, 44, 30]

/** A bar as long as the median, and a whisker from the least to the most of its runs. */
export function barChart({ title, description, unit, bars }: BarChart): string {
  const left = Math.min(360, 24 + Math.max(0, ...bars.map(({ name }) => name.length)) * 6.6)
  const bottom = top + bars.length * row
  const scale = linearScale(
    bars.map(({ most }) => most),
    { from: left, to: right },
  )
  return picture({ width, height: bottom + 52, title, description }, [
    ...scale.ticks.flatMap((tick) => [
      element('line', { x1: scale.at(tick), x2: scale.at(tick), y1: top, y2: bottom, stroke: faint }),
      element('text', { x: scale.at(tick), y: bottom + 18, 'text-anchor': 'middle', fill: ink }, label(tick)),
    ]),
    element('text', { x: (left + right) / 2, y: bottom + 40, 'text-anchor': 'middle', fill: ink }, unit),
    ...bars.flatMap(({ name, least, median, most, look = 0 }, index) => {
      const middle = top + index * row + row / 2
      const end = scale.at(median)
      return [
        element('text', { x: left - 8, y: middle + 4, 'text-anchor': 'end', fill: ink }, name),
        element(
          'rect',
          { x: left, y: middle - 9, width: Math.max(0, end - left), height: 18, fill: lookOf(look).colour },
          element('title', {}, `${name}: ${label(median)} (${label(least)} to ${label(most)}) ${unit}`),
        ),
        element('line', {
          x1: scale.at(least),
          x2: scale.at(most),
          y1: middle,
          y2: middle,
          stroke: ink,
          'stroke-width': 2,
        }),
        ...(least === most ? [] : [least, most]).map((value) =>
          element('line', {
            x1: scale.at(value),
            x2: scale.at(value),
            y1: middle - 5,
            y2: middle + 5,
            stroke: ink,
            'stroke-width': 2,
          }),
        ),
        element('text', { x: Math.max(end, scale.at(most)) + 8, y: middle + 4, fill: ink }, label(median)),
      ]
    }),
  ])
}
