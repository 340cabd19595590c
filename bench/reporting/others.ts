import { kindsOf, kindText } from '../kinds.ts'
import type { RawRun } from '../raw-run.ts'
import { spreadText } from '../spread.ts'
import { markdownTable, type Section } from './section.ts'

const figures: readonly { readonly name: string; of(run: RawRun): number | null | undefined }[] = [
  { name: 'from start to first commit, ms', of: (run) => run.start_ms },
  { name: 'rows parked', of: (run) => run.parked_rows },
  { name: 'parking, s', of: (run) => run.parking_seconds },
  { name: 'processing what was parked, s', of: (run) => run.feeding_seconds },
  { name: 'bytes a warm tenant', of: (run) => run.heap?.bytes_per_warm_tenant },
]

/** Start, parking and memory: a row for each figure. */
export function othersSection(runs: readonly RawRun[]): Section {
  const rows = [...kindsOf(runs).values()].flatMap((kind) =>
    figures.flatMap(({ name, of }) => {
      const values = kind.flatMap((run) => of(run) ?? [])
      return values.length === 0 ? [] : [[kindText(kind[0]), name, String(values.length), spreadText(values, 1)]]
    }),
  )
  const text = markdownTable(['run', 'figure', 'runs', 'median (least-most)'], rows)
  return { title: 'Start, parking, memory', text, pictures: new Map() }
}
