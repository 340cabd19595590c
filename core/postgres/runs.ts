import type { DecisionColumns } from '../columns.ts'
import type { Outcome } from './transactions.ts'

/** Decisions [from, to) of one frame. */
export type Run = { readonly columns: DecisionColumns; readonly from: number; to: number }

/**
 * The stretches of workers' frames that the done outcomes are, in order. Undefined if one is not in a frame, or in one
 * that is not plain.
 */
export function runsOf(outcomes: readonly Outcome[]): readonly Run[] | undefined {
  const runs: Run[] = []
  let last: Run | undefined
  for (let i = 0; i < outcomes.length; i++) {
    const result = outcomes[i]?.result
    if (result?.kind !== 'done') continue
    if (result.packed === null) return undefined
    const { columns, place } = result.packed
    if (columns === last?.columns && place === last.to) {
      last.to++
      continue
    }
    if (!columns.plain) return undefined
    last = { columns, from: place, to: place + 1 }
    runs.push(last)
  }
  return runs
}
