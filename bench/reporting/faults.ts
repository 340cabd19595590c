import { type Kind, kindsOf, kindText } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { spreadText } from '../spread.ts'
import type { Moment } from './line-chart.ts'
import { overTime } from './over-time.ts'
import { markdownTable, type Section } from './section.ts'

/** How long it takes after a crash, a restart, a rebalance or a backlog until all is as before. */
export function faultsSection(runs: readonly RawRun[]): Section {
  const kinds = [...kindsOf(runs).values()]
  const recovered = kinds.flatMap(recoveryRows)
  const drained = kinds.flatMap(backlogRows)
  const shown = kinds.map((kind) => {
    const run = kind.at(-1) ?? kind[0]
    return overTime(run, momentsOf(run))
  })
  const parts = [
    ...(recovered.length === 0
      ? []
      : [
          'Recovered is when lag and p99 are within one and a half times the worst calm second again, and stay there.',
          markdownTable(['run', 'runs', 'what', 'recovered after s', 'worst p99 ms', 'worst lag s'], recovered),
        ]),
    ...(drained.length === 0
      ? []
      : [
          'A backlog is worked off when nothing waits for more than a second, with as much a second still coming.',
          markdownTable(['run', 'runs', 'backlog', 'worked off after s', 'messages a second meanwhile'], drained),
        ]),
  ]
  return {
    title: 'Lag and recovery',
    text: [...parts, ...shown.flatMap((each) => each.shown)].join('\n\n'),
    pictures: new Map(shown.flatMap(({ pictures }) => [...pictures])),
  }
}

/** A row for each thing that was done in these runs: all of a kind do the same. */
function recoveryRows(kind: Kind<RawRun>): readonly (readonly string[])[] {
  return (kind[0].recovery ?? []).map(({ kind: what }, at) => {
    const steps = kind.flatMap(({ recovery }) => recovery?.[at] ?? [])
    return [
      kindText(kind[0]),
      String(kind.length),
      what,
      reached(steps.map((step) => step.recovered_seconds)),
      spreadText(
        steps.flatMap((step) => step.worst_p99 ?? []),
        0,
      ),
      spreadText(
        steps.flatMap((step) => step.worst_lag_seconds ?? []),
        1,
      ),
    ]
  })
}

function backlogRows(kind: Kind<RawRun>): readonly (readonly string[])[] {
  const backlogs = kind.flatMap(({ backlog }) => backlog ?? [])
  const [first] = backlogs
  if (first === undefined) return []
  return [
    [
      kindText(kind[0]),
      String(kind.length),
      first.messages.toLocaleString('en'),
      reached(backlogs.map((backlog) => backlog.drain_seconds)),
      spreadText(
        backlogs.flatMap((backlog) => backlog.drain_rate_per_second ?? []),
        0,
      ),
    ],
  ]
}

/** Seconds, and in how many runs they did not suffice. */
function reached(seconds: readonly (number | null | undefined)[]): string {
  const known = seconds.flatMap((each) => each ?? [])
  const missing = seconds.length - known.length
  return [spreadText(known, 1), missing === 0 ? '' : `never in ${missing}`].filter((word) => word !== '').join('; ')
}

/** When something was done, and when all was as before. */
function momentsOf({ recovery = [] }: RawRun): readonly Moment[] {
  return recovery.flatMap(({ kind, at_second: at, recovered_seconds: seconds }) => [
    { name: kind, x: at },
    ...(typeof seconds === 'number' && seconds > 0 ? [{ name: 'as before', x: at + seconds }] : []),
  ])
}
