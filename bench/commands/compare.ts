import type { Command } from 'commander'
import { data, json, say, table } from '../../cli/output.ts'
import { TenantryError } from '../../core/errors.ts'
import { type Change, compare, level, rankTestFrom, smallest } from '../compare.ts'
import { readRuns } from '../raw-run.ts'

/** `bench compare`: what two sets of runs differ in. */
export function compareCommand(program: Command): void {
  program
    .command('compare')
    .exitOverride()
    .description(
      `what is different in the second file beyond noise: by a rank test (p at most ${level}, and ${smallest * 100} %) from ${rankTestFrom} runs a side, by ranges apart from two, by a tolerance for one; fails when something is worse`,
    )
    .argument('<before>', 'JSON of runs, a report, or a journal of `bench all` (.jsonl)')
    .argument('<after>', 'the same, of what is judged')
    .option('--json', 'everything that was compared, as one JSON value')
    .action((before: string, after: string, flags: { readonly json?: boolean }) => {
      const comparison = compare(readRuns(before), readRuns(after))
      const { changes, onlyBefore, onlyAfter } = comparison
      if (flags.json === true) json(comparison)
      else data(textOf(changes))
      for (const kind of onlyBefore) say(`Only in ${before}: ${kind}`)
      for (const kind of onlyAfter) say(`Only in ${after}: ${kind}`)
      if (changes.length === 0)
        throw new TenantryError('TENANTRY_USAGE', 'No run of one file has a run of its kind in the other.')
      const worse = changes.filter(({ verdict }) => verdict === 'worse').length
      if (worse > 0)
        throw new TenantryError('TENANTRY_BENCH_WORSE', `${worse} figures are worse beyond noise.`, { worse })
    })
}

/** The figures that have changed, and how many have not. */
function textOf(changes: readonly Change[]): string {
  const changed = changes.filter(({ verdict }) => verdict !== 'same')
  const figure = (value: number) => Number(value.toPrecision(4)).toLocaleString('en')
  const rows = changed.map(({ kind, metric, before, after, runs, by, verdict }) => [
    kind,
    metric,
    figure(before),
    figure(after),
    changeText(before, after),
    runs.join('/'),
    by,
    verdict,
  ])
  const rest = `${changes.length - changed.length} of ${changes.length} figures are the same within noise.`
  if (rows.length === 0) return rest
  return `${table([['RUN', 'FIGURE', 'BEFORE', 'AFTER', 'CHANGE', 'RUNS', 'BY', 'VERDICT'], ...rows])}\n${rest}`
}

/** As a share of what was before; empty where that is no number. */
function changeText(before: number, after: number): string {
  const share = (after / before - 1) * 100
  return Number.isFinite(share) ? `${share >= 0 ? '+' : ''}${share.toFixed(1)} %` : ''
}
