import { isIsolation } from '../beside-calm.ts'
import type { RawRun } from '../raw-run.ts'

/** What a run is about. Each is shown in one section only. */
export type Sort =
  | 'rates'
  | 'peers'
  | 'latency'
  | 'highest rate'
  | 'isolation'
  | 'faults'
  | 'stress'
  | 'growth'
  | 'others'

/** Runs by what they are about. */
export function sortsOf(runs: readonly RawRun[]): ReadonlyMap<Sort, readonly RawRun[]> {
  // Ours belongs to the peers where somebody else did the same.
  const shared = new Set(runs.filter(({ subject }) => subject !== 'tenantry').map(({ scenario }) => scenario))
  return Map.groupBy(runs, (run) => (shared.has(run.scenario) ? 'peers' : sortOf(run)))
}

function sortOf(run: RawRun): Sort {
  if (run.grown !== undefined) return 'growth'
  if (run.recovery !== undefined || run.backlog !== undefined) return 'faults'
  if (run.minutes !== undefined) return 'stress'
  if (run.search !== undefined) return 'highest rate'
  if (isIsolation(run.scenario)) return 'isolation'
  if (run.latency_ms !== undefined) return 'latency'
  const other = run.start_ms ?? run.parked_rows ?? run.heap
  return other === undefined || other === null ? 'rates' : 'others'
}
