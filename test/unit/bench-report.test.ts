import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { type RawRun, readRuns } from '../../bench/raw-run.ts'
import { barChart } from '../../bench/reporting/bar-chart.ts'
import { lineChart } from '../../bench/reporting/line-chart.ts'
import { linearScale, logScale } from '../../bench/reporting/scale.ts'
import { withFigures } from '../../bench/reporting/readme.ts'
import { overTime } from '../../bench/reporting/over-time.ts'
import { type Sort, sortsOf } from '../../bench/reporting/sorts.ts'
import { reportFiles } from '../../bench/reporting/write.ts'
import { TenantryError } from '../../core/errors.ts'
import { test } from '../harness.ts'
import { rawRun } from '../fixtures/raw-runs.ts'
import { all, parseXml } from '../fixtures/xml.ts'

const span = { from: 0, to: 300 }
const near = (value: number | undefined, wanted: number) =>
  assert.ok(value !== undefined && Math.abs(value - wanted) < 0.051, `${value} is not ${wanted}`)
const chart = {
  title: 'A <title> & "more"',
  description: 'What\u{0} it shows',
  x: { name: 'tenants', scale: 'log' },
  y: { name: 'µs', scale: 'log' },
} as const

test('the reader of XML that judges the pictures finds what is wrong', () => {
  for (const wrong of [
    '<a>',
    '<a></b>',
    '<a b=c/>',
    '<a b="1" b="2"/>',
    '<a>&nbsp;</a>',
    '<a>& </a>',
    '<a/><b/>',
    '<a/>x',
  ])
    assert.throws(() => parseXml(wrong), undefined, wrong)
  assert.is(parseXml('<a b="&lt;">x<c/>y &amp; z</a>').text, 'xy & z')
})

test('a logarithmic scale has a decade in each equal part, and every decade a tick', () => {
  const scale = logScale([3, 700], span)
  assert.equal(scale.ticks, [1, 10, 100, 1_000])
  assert.equal(
    scale.ticks.map((tick) => Math.round(scale.at(tick))),
    [0, 100, 200, 300],
  )
  assert.equal(logScale([1, 1_000_000], span).ticks.length, 7)
  assert.equal(logScale([5], span).ticks, [1, 10])
  assert.equal(logScale([0], span).ticks, [1, 10])
})

test('a linear scale goes from 0 to a round number above all values', () => {
  const scale = linearScale([3, 47], span)
  assert.equal(scale.ticks, [0, 10, 20, 30, 40, 50])
  near(scale.at(25), 150)
  assert.equal(linearScale([0], span).ticks.at(0), 0)
  assert.ok((linearScale([0.3], span).ticks.at(-1) ?? 0) >= 0.3)
})

test('a line chart is well-formed, named and described, and has its points where the ticks say', () => {
  const points = [
    [1, 10],
    [100, 1_000],
    [0, 5],
  ] as const
  const root = parseXml(lineChart({ ...chart, lines: [{ name: 'a & b', points }], marks: [{ name: 'aim', y: 100 }] }))
  assert.is(root.attributes.get('role'), 'img')
  const named = (root.attributes.get('aria-labelledby') ?? '').split(' ')
  const [title, description] = [root.children[0], root.children[1]]
  assert.equal(named, [title?.attributes.get('id'), description?.attributes.get('id')])
  assert.is(title?.text, 'A <title> & "more"')
  assert.is(description?.text, 'What\u{fffd} it shows')
  const texts = all(root, 'text')
  assert.ok(texts.some(({ text }) => text === 'a & b'))
  // Of x 100 and y 1,000, the places of their ticks' words; the point at 0 has none.
  const placeOf = (word: string, axis: 'x' | 'y', anchor: string) =>
    texts
      .filter(({ text, attributes }) => text === word && attributes.get('text-anchor') === anchor)
      .map(({ attributes }) => Number(attributes.get(axis)))[0]
  const circles = all(root, 'circle')
  assert.is(circles.length, 2)
  near(Number(circles[1]?.attributes.get('cx')), placeOf('100', 'x', 'middle') ?? -1)
  near(Number(circles[1]?.attributes.get('cy')), (placeOf('1,000', 'y', 'end') ?? -1) - 4)
  near(Number(circles[0]?.attributes.get('cx')), placeOf('1', 'x', 'middle') ?? -1)
})

test('a bar is as long as its median, with a whisker from the least to the most', () => {
  const bars = [
    { name: 'half', least: 40, median: 50, most: 60 },
    { name: 'whole', least: 100, median: 100, most: 100 },
  ]
  const root = parseXml(barChart({ title: 'Bars', description: 'Two', unit: 'messages a second', bars }))
  const [, half, whole] = all(root, 'rect').map(({ attributes }) => Number(attributes.get('width')))
  near((whole ?? 0) / 2, half ?? -1)
  const whisker = all(root, 'line').find(({ attributes }) => attributes.get('y1') === attributes.get('y2'))
  const reach = Number(whisker?.attributes.get('x2')) - Number(whisker?.attributes.get('x1'))
  near(reach, (whole ?? 0) / 5)
})

test('a moment stands where its second is, and a fit beside its points', () => {
  const points = [
    [0, 10],
    [10, 20],
  ] as const
  const moments = [{ name: 'kill', x: 5 }]
  const root = parseXml(
    lineChart({ ...chart, x: { name: 's', scale: 'linear' }, lines: [{ name: 'a', points, fitted: points }], moments }),
  )
  const upright = all(root, 'line').find(({ attributes }) => attributes.get('stroke-dasharray') === '4 4')
  const [first, second] = all(root, 'circle').map(({ attributes }) => Number(attributes.get('cx')))
  near(Number(upright?.attributes.get('x1')), ((first ?? 0) + (second ?? 0)) / 2)
  assert.ok(all(root, 'text').some(({ text }) => text === 'kill'))
  const [own, fitted, ...others] = all(root, 'polyline').map(({ attributes }) => attributes.get('points'))
  assert.is(own, fitted)
  assert.is(others.length, 0)
})

const latency_ms = { p50: 5, p99: 20, p999: 30, p9999: 40, max: 50 }
const series = [
  [0, 5, 20],
  [1, 6, 22],
] satisfies [number, number, number][]
const steady = { offered_per_second: 1_000, latency_ms, series, lag_series: series }
const step = { kind: 'kill', at_second: 0, over_second: 1, recovered_seconds: 0.5, worst_p99: 900 }
const disturbances = { kills: 2, joined: true }
const peerRuns = ['tenantry', 'kafkajs'].flatMap((subject) => [
  rawRun({ subject, scenario: 'transaction', rate_per_second: subject === 'tenantry' ? 90_000 : 4_500 }),
  rawRun({ subject, scenario: 'nothing', checked: 'count' }),
  rawRun({ subject, scenario: 'row, disturbed', disturbances, duplicated: subject === 'tenantry' ? 0 : 77 }),
])
/** One of each sort at least. */
const runs = [
  ...peerRuns,
  rawRun(),
  rawRun({ rate_per_second: 60_000 }),
  rawRun({ scenario: 'latency', ...steady }),
  rawRun({
    scenario: 'highest rate',
    ...steady,
    objectives_held: true,
    search: [{ rate_per_second: 1_000, p50: 5, p99: null, lag_seconds: 0, held: true }],
  }),
  rawRun({ scenario: 'calm', ...steady }),
  rawRun({ scenario: 'failing', ...steady, latency_ms: { ...latency_ms, p99: 26 } }),
  rawRun({ scenario: 'recovery, kill, consumer', ...steady, recovery: [step] }),
  rawRun({ scenario: 'recovery, kill, consumer', ...steady, recovery: [{ ...step, recovered_seconds: null }] }),
  rawRun({ scenario: 'lag', ...steady, backlog: { messages: 9_000, drain_seconds: 3, drain_rate_per_second: 4_000 } }),
  ...[1, 10, 100].map((at) =>
    rawRun({ scenario: 'growth', grown: { of: 'tenants', at }, cpu_seconds_per_million: 7 * at }),
  ),
  rawRun({
    scenario: 'stress, faults',
    ...steady,
    minutes: [1, 2].map((minute) => ({
      ...{ minute, p50: 4, p99: null, lag_seconds: 0, rss_bytes: 2e8, held: minute === 1 },
      ...(minute === 2 && { fault: 'daemon killed' }),
    })),
    growth: { rss: { per_hour: 2e7, grows: true }, outbox: { per_hour: 0, grows: false } },
  }),
  rawRun({ scenario: 'parking', parked_rows: 5, parking_seconds: 1, feeding_seconds: 2 }),
  rawRun({ scenario: 'startup', start_ms: 900 }),
]

test("a second's latency stands in its middle, and its lag at its end", () => {
  const { pictures } = overTime(rawRun(steady), [
    { name: 'middle', x: 0.5 },
    { name: 'end', x: 1 },
  ])
  const [latency = '', lag = ''] = [...pictures.values()]
  const places = (svg: string) => {
    const root = parseXml(svg)
    const dashed = all(root, 'line').filter(({ attributes }) => attributes.get('stroke-dasharray') === '4 4')
    const [middle, end] = dashed.map(({ attributes }) => Number(attributes.get('x1')))
    return { first: Number(all(root, 'circle')[0]?.attributes.get('cx')), middle, end }
  }
  near(places(latency).first, places(latency).middle ?? -1)
  near(places(lag).first, places(lag).end ?? -1)
})

test('a run is in one section, and each sort of run has its own', () => {
  const sorts = sortsOf(runs)
  assert.is([...sorts.values()].flat().length, runs.length)
  const scenarios = (sort: Sort) => [...new Set(sorts.get(sort)?.map(({ scenario }) => scenario))].join('; ')
  assert.is(scenarios('peers'), 'transaction; nothing; row, disturbed')
  assert.is(scenarios('rates'), 'rows')
  assert.is(scenarios('latency'), 'latency')
  assert.is(scenarios('highest rate'), 'highest rate')
  assert.is(scenarios('isolation'), 'calm; failing')
  assert.is(scenarios('faults'), 'recovery, kill, consumer; lag')
  assert.is(scenarios('stress'), 'stress, faults')
  assert.is(scenarios('growth'), 'growth')
  assert.is(scenarios('others'), 'parking; startup')
})

test('every picture that the text of a report names is there and well-formed, and no other', () => {
  const files = reportFiles(runs)
  const text = files.get('README.md') ?? ''
  const named = [...text.matchAll(/!\[[^\]]*\]\(([^)]+)\)/g)].map(([, file = '']) => file)
  assert.equal(named.toSorted(), [...files.keys()].filter((name) => name.endsWith('.svg')).toSorted())
  // Two of peers, one of rates, two for each steady run over time, and one each of isolation, search, stress and growth.
  assert.is(named.length, 2 + 1 + 5 * 2 + 4)
  for (const file of named) parseXml(files.get(file) ?? '')
})

test('a report says of each sort of run what it is for', () => {
  const text = reportFiles(runs, 'Quick.').get('README.md') ?? ''
  assert.match(text, '**Quick.**')
  assert.match(text, 'daemon µs/message linear (×10.0 for ten times as much)')
  assert.match(text, '55,000 (50,000-60,000)')
  assert.match(text, 'The objectives held in 1 of 2 minutes.')
  assert.match(text, '| rss | 20.0 | **without bound** |')
  assert.not.match(text, '| outbox |')
  assert.match(text, /failing.* \| 1\.00 \| 1\.30 \(over 1\.2\) \| 1\.00 \|/) // beside the calm run
  assert.match(text, /kill, consumer.* \| 2 \| kill \| 0\.5; never in 1 \|/)
  assert.match(text, /\| 9,000 \| 3\.0 \| 4,000 \|/)
  assert.match(text, '| messages a second | transaction | nothing |')
  assert.match(text, /tenantry node platformatic \| 90,000 \| 50,000 \|\n\| kafkajs \| 4,500 \| 50,000 \|/)
  assert.match(text, /kafkajs \| 1 \| 1,000 \| 4,500 \| ×20 \|/)
  assert.match(text, /kafkajs \| 1 \| 2 \| in 1 \| 0 \| 77 \| 0 \|/)
  assert.match(text, /kafkajs.*\|  \|  \|  \|/) // of nothing there is nothing to count by
})

test('only what ours has lost is said in front; what others have lost stands beside them', () => {
  const front = (some: Parameters<typeof reportFiles>[0]) => reportFiles(some).get('README.md') ?? ''
  assert.match(front(runs), "In none of tenantry's")
  assert.match(front([rawRun({ lost: 1 })]), "In 1 of tenantry's 1 something was lost")
})

test("a page's part of the bench is written from the runs, and all else stays", () => {
  const page = 'Before.\n\n<!-- from bench report -->\n\nold\n\n<!-- end of bench report -->\n\nAfter.\n'
  const subjects = ['kafkajs', 'tenantry'].flatMap((subject) => [
    rawRun({ subject, scenario: 'transaction, 1,000 keys', rate_per_second: subject === 'tenantry' ? 90_000 : 4_500 }),
    rawRun({ subject, scenario: 'http, 1,000 keys', checked: 'count', rate_per_second: 3_000 }),
    rawRun({ subject, scenario: 'row, 1,000 keys, disturbed', duplicated: subject === 'tenantry' ? 0 : 77 }),
  ])
  const written = withFigures(page, [...subjects, rawRun({ scenario: 'latency', ...steady })], 'bench/report')
  assert.match(written, /^Before\.\n\n<!-- from bench report -->\n\n!\[[^\]]+\]\(bench\/report\/([^)]+)\)\n/)
  assert.match(written, /<!-- end of bench report -->\n\nAfter\.\n$/)
  assert.not.match(written, 'old')
  assert.match(written, '|  | a transaction a message | an HTTP call |')
  assert.match(written, /\*\*tenantry node platformatic\*\* \| 90,000, 200 MB \| 3,000, 200 MB \|\n\| kafkajs \| 4,500/)
  assert.match(written, '|  | a transaction, calm | a row without a key, disturbed |')
  assert.match(written, '| kafkajs | 0 / 0 / 0 | 0 / 77 / 0 |')
  assert.match(written, 'One run each, in turns; 2 cores')
  const [, picture = ''] = /\(bench\/report\/([^)]+\.svg)\)/.exec(written) ?? []
  assert.ok(reportFiles(subjects).has(picture), `${picture} is no file of the report`)
  assert.is(withFigures(written, subjects, 'bench/report'), written)
})

test('a page without marks, and runs without peers, are refused', () => {
  const refused = (page: string, some: readonly RawRun[]) =>
    assert.throws(
      () => withFigures(page, some, ''),
      (error: unknown) => error instanceof TenantryError,
    )
  refused('No marks.', peerRuns)
  refused('<!-- from bench report --><!-- end of bench report -->', [rawRun()])
})

test("the README's figures are those of the report that is kept", () => {
  const root = new URL('../../', import.meta.url)
  const kept = new URL('bench/report/runs.json', root)
  const readme = readFileSync(new URL('README.md', root), 'utf8')
  assert.match(readme, '<!-- from bench report -->')
  if (existsSync(kept)) assert.is(withFigures(readme, readRuns(fileURLToPath(kept)), 'bench/report'), readme)
})
