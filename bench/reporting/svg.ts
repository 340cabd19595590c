/** A picture's building block, as text. */
export type Element = { readonly svg: string }

type Value = string | number

/** An element with its attributes, and text or other elements in it. */
export function element(
  name: string,
  attributes: Readonly<Record<string, Value>>,
  ...content: readonly (Element | string)[]
): Element {
  const given = Object.entries(attributes)
    .map(([key, value]) => ` ${key}="${typeof value === 'number' ? shortNumber(value) : escaped(value)}"`)
    .join('')
  const inner = content.map((part) => (typeof part === 'string' ? escaped(part) : part.svg)).join('')
  return { svg: inner === '' ? `<${name}${given}/>` : `<${name}${given}>${inner}</${name}>` }
}

/** A picture of its own, which screen readers can name and describe; its words stay words. */
export function picture({ width, height, title, description }: Frame, content: readonly Element[]): string {
  const root = element(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: 'img',
      'aria-labelledby': 'title description',
      'font-family': 'system-ui, sans-serif',
      'font-size': 12,
    },
    element('title', { id: 'title' }, title),
    element('desc', { id: 'description' }, description),
    element('rect', { width, height, fill: '#ffffff' }), // also where the page is dark
    element('text', { x: 16, y: 24, 'font-size': 15, 'font-weight': 'bold', fill: ink }, title),
    ...content,
  )
  return `${root.svg}\n`
}

export type Frame = {
  readonly width: number
  readonly height: number
  readonly title: string
  /** What the picture shows, for those who do not see it. */
  readonly description: string
}

export const ink = '#222222'
export const faint = '#dddddd'

/** Told apart by those who see few colours too (Okabe and Ito's), and by their dashes. */
export const looks: readonly { readonly colour: string; readonly dash: string }[] = [
  { colour: '#0072b2', dash: '' },
  { colour: '#d55e00', dash: '6 3' },
  { colour: '#009e73', dash: '2 3' },
  { colour: '#cc79a7', dash: '8 3 2 3' },
  { colour: '#8a6d00', dash: '4 2' },
  { colour: '#56b4e9', dash: '1 2' },
]

export function lookOf(index: number): (typeof looks)[number] {
  return looks[index % looks.length] ?? { colour: ink, dash: '' }
}

/** A number as a person reads it along an axis: `1.5 M`. */
export function label(value: number): string {
  const size = Math.abs(value)
  const [factor, unit] = size >= 1e9 ? [1e9, ' G'] : size >= 1e6 ? [1e6, ' M'] : size >= 1e4 ? [1e3, ' k'] : [1, '']
  return `${Number((value / factor).toPrecision(3)).toLocaleString('en', { maximumFractionDigits: 4 })}${unit}`
}

/** Tenths of a pixel are enough. */
function shortNumber(value: number): string {
  return String(Math.round(value * 10) / 10)
}

function escaped(text: string): string {
  return (
    text
      // Characters that no XML may hold.
      .replaceAll(/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, '\u{fffd}')
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
      .replaceAll('"', '&quot;')
  )
}
