import { linearScale, logScale, type Scale } from './scale.ts'
import { type Element, element, faint, type Frame, ink, label, lookOf, picture } from './svg.ts'

type Axis = { readonly name: string; readonly scale: 'linear' | 'log' }

type Points = readonly (readonly [x: number, y: number])[]

type Line = {
  readonly name: string
  readonly points: Points
  /** What was fitted to the points: a thin line beside them. */
  readonly fitted?: Points
}

export type LineChart = Pick<Frame, 'title' | 'description'> & {
  readonly x: Axis
  readonly y: Axis
  readonly lines: readonly Line[]
  /** Values that are aimed at, as lines across. */
  readonly marks?: readonly { readonly name: string; readonly y: number }[]
  /** When something was done, as lines from top to bottom. */
  readonly moments?: readonly Moment[]
}

export type Moment = { readonly name: string; readonly x: number }

const [width, height] = [720, 380]
const [left, right, top, bottom] = [76, 704, 64, 322]
/** Up to so many points each has a dot; more are a line only. */
const dots = 30

/** Lines over two axes, either of them with decades; what a logarithm cannot show is left out. */
export function lineChart({ title, description, x, y, lines, marks = [], moments = [] }: LineChart): string {
  const shown = lines.map((line) => ({
    ...line,
    points: line.points.filter(([px, py]) => visible(x, px) && visible(y, py)),
    fitted: (line.fitted ?? []).filter(([px, py]) => visible(x, px) && visible(y, py)),
  }))
  const points = shown.flatMap((line) => [...line.points, ...line.fitted])
  const xs = scaleOf(x, [...points.map(([px]) => px), ...moments.map((moment) => moment.x)], { from: left, to: right })
  const ys = scaleOf(y, [...points.map(([, py]) => py), ...marks.map((mark) => mark.y)], { from: bottom, to: top })
  return picture({ width, height, title, description }, [
    ...ys.ticks.flatMap((tick) => [
      element('line', { x1: left, x2: right, y1: ys.at(tick), y2: ys.at(tick), stroke: faint }),
      text(left - 8, ys.at(tick) + 4, label(tick), 'end'),
    ]),
    ...xs.ticks.flatMap((tick) => [
      element('line', { x1: xs.at(tick), x2: xs.at(tick), y1: bottom, y2: bottom + 5, stroke: ink }),
      text(xs.at(tick), bottom + 19, label(tick), 'middle'),
    ]),
    element('line', { x1: left, x2: right, y1: bottom, y2: bottom, stroke: ink }),
    text((left + right) / 2, bottom + 40, x.name, 'middle'),
    element(
      'text',
      { x: 0, y: 0, 'text-anchor': 'middle', fill: ink, transform: `translate(18 ${(top + bottom) / 2}) rotate(-90)` },
      y.name,
    ),
    ...marks.flatMap((mark) => [
      element('line', {
        x1: left,
        x2: right,
        y1: ys.at(mark.y),
        y2: ys.at(mark.y),
        stroke: ink,
        'stroke-dasharray': '1 4',
      }),
    ]),
    ...moments.flatMap((moment) => [
      element('line', {
        x1: xs.at(moment.x),
        x2: xs.at(moment.x),
        y1: top,
        y2: bottom,
        stroke: ink,
        'stroke-dasharray': '4 4',
      }),
    ]),
    ...shown.flatMap((line, index) => lineOf(line, index, xs, ys)),
    // Over the lines, or these would strike them through.
    ...marks.map((mark) => text(right, ys.at(mark.y) - 4, mark.name, 'end')),
    // Those of one after the other are on different heights, or they would cover each other.
    ...moments.map((moment, index) => text(xs.at(moment.x) + 4, top + 12 + (index % 4) * 14, moment.name, 'start')),
    ...legend(shown.map(({ name }) => name)),
  ])
}

function lineOf({ name, points, fitted = [] }: Line, index: number, xs: Scale, ys: Scale): readonly Element[] {
  const { colour, dash } = lookOf(index)
  const path = (along: Points, strokeWidth: number) =>
    element('polyline', {
      points: along.map(([x, y]) => `${xs.at(x).toFixed(1)},${ys.at(y).toFixed(1)}`).join(' '),
      fill: 'none',
      stroke: colour,
      'stroke-width': strokeWidth,
      ...(dash !== '' && strokeWidth > 1 && { 'stroke-dasharray': dash }),
    })
  const paths = [path(points, 2), ...(fitted.length === 0 ? [] : [path(fitted, 1)])]
  if (points.length > dots) return paths
  return [
    ...paths,
    ...points.map(([x, y]) =>
      element(
        'circle',
        { cx: xs.at(x), cy: ys.at(y), r: 3.5, fill: colour },
        element('title', {}, `${name}: ${label(y)} at ${label(x)}`),
      ),
    ),
  ]
}

/** Which line is which, above the chart. */
function legend(names: readonly string[]): readonly Element[] {
  let at = left
  return names.flatMap((name, index) => {
    const { colour, dash } = lookOf(index)
    const from = at
    at += 44 + name.length * 7
    return [
      element('line', {
        x1: from,
        x2: from + 22,
        y1: 46,
        y2: 46,
        stroke: colour,
        'stroke-width': 2,
        ...(dash !== '' && { 'stroke-dasharray': dash }),
      }),
      text(from + 28, 50, name, 'start'),
    ]
  })
}

function text(x: number, y: number, words: string, anchor: 'start' | 'middle' | 'end'): Element {
  const halo = { stroke: '#ffffff', 'stroke-width': 3, 'paint-order': 'stroke' }
  return element('text', { x, y, 'text-anchor': anchor, fill: ink, ...halo }, words)
}

function scaleOf(
  { scale }: Axis,
  values: readonly number[],
  span: { readonly from: number; readonly to: number },
): Scale {
  return scale === 'log' ? logScale(values, span) : linearScale(values, span)
}

function visible({ scale }: Axis, value: number): boolean {
  return Number.isFinite(value) && (scale === 'linear' || value > 0)
}
