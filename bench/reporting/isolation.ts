import { bars, besideCalm, ratioText } from '../beside-calm.ts'
import { kindsOf, kindText } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { barChart } from './bar-chart.ts'
import { latencyTable } from './latencies.ts'
import { overTime } from './over-time.ts'
import { markdownTable, type Section } from './section.ts'

/** What a sick tenant costs all others: beside a calm run, and over time. */
export function isolationSection(runs: readonly RawRun[]): Section {
  const kinds = [...kindsOf(runs).values()]
  const ratios = besideCalm(runs)
  const shown = kinds.map((kind) => overTime(kind.at(-1) ?? kind[0]))
  const pictures = new Map(shown.flatMap((each) => [...each.pictures]))
  const parts: string[] = []
  if (ratios.length > 0) {
    const title = 'What others wait when one tenant is sick'
    pictures.set(
      'isolation.svg',
      barChart({
        title,
        description: `p99 of all others as a multiple of a calm run's: ${ratios.map(({ kind: [run], p99 }) => `${run.scenario} ${p99.toFixed(2)}`).join('; ')}.`,
        unit: "p99, times a calm run's",
        bars: ratios.map(({ kind: [run], p99 }) => ({ name: run.scenario, least: p99, median: p99, most: p99 })),
      }),
    )
    parts.push(
      `Of all other tenants, as multiples of a calm run's: p99 at most ${bars.p99} and memory at most ${bars.memory} are aimed at.`,
      `![${title}](isolation.svg)`,
      markdownTable(
        ['run', 'runs', 'p50', 'p99', 'memory', 'longest standstill of a partition, ms'],
        ratios.map(({ kind, p50, p99, memory, longest_standstill_ms: standstill }) => [
          kindText(kind[0]),
          String(kind.length),
          p50.toFixed(2),
          ratioText(p99, bars.p99),
          ratioText(memory, bars.memory),
          String(standstill),
        ]),
      ),
    )
  }
  return {
    title: 'Isolation',
    text: [...parts, latencyTable(kinds), ...shown.flatMap((each) => each.shown)].join('\n\n'),
    pictures,
  }
}
