import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { say } from '../../cli/output.ts'
import { TenantryError } from '../../core/errors.ts'
import { runSteps } from '../all.ts'
import { Journal } from '../journal.ts'
import { planOf, type Step } from '../plan.ts'
import { runsOf } from '../raw-run.ts'
import { writeReport } from '../reporting/write.ts'
import { isRight } from '../run.ts'

const quickNote = 'Quick runs: they show that everything works, and their figures mean nothing.'

type AllFlags = { readonly quick?: boolean; readonly out: string; readonly kafka?: string; readonly postgres?: string }

/** `bench all`: every scenario, and the report. */
export function allCommand(program: Command): void {
  program
    .command('all')
    .exitOverride()
    .description('runs everything and writes the report; called again, it goes on where it stopped')
    .option('--quick', 'small runs, in less than five minutes: they show that everything works, and no more')
    .option('--out <folder>', 'for the runs as they come (runs.jsonl), and the report', 'bench/report/local')
    .option('--kafka <addresses>', "host:port,…; with --postgres, instead of the checkout's own servers")
    .option('--postgres <url>', 'of a server on which databases may be made')
    .action(async (flags: AllFlags) => {
      mkdirSync(flags.out, { recursive: true })
      const journal = new Journal(join(flags.out, 'runs.jsonl'))
      const servers = [
        ...(flags.kafka === undefined ? [] : ['--kafka', flags.kafka]),
        ...(flags.postgres === undefined ? [] : ['--postgres', flags.postgres]),
      ]
      const steps = planOf(flags.quick === true)
      // What an earlier call has left of other steps, the quick ones or those of another version, is not of this report.
      const report = () => {
        const runs = journal.runsOf(steps)
        if (runs.length > 0) writeReport(flags.out, runs, flags.quick === true ? quickNote : undefined)
      }
      try {
        // Written after each step: a call that is broken off leaves the report of what it has.
        await runSteps({ steps, journal, say, run: (step) => runStep(step, servers), added: report })
      } finally {
        report()
        say(`${journal.runsOf(steps).length} runs: ${join(flags.out, 'README.md')}`)
      }
      const wrong = journal.runsOf(steps).filter((run) => run.subject === 'tenantry' && !isRight(run)).length
      if (wrong > 0)
        throw new TenantryError(
          'TENANTRY_BENCH_WRONG',
          `In ${wrong} of tenantry's runs something was lost, doubled, reordered or given up.`,
        )
    })
}

/** A process of its own for each step: none inherits another's heap. */
async function runStep({ args }: Step, servers: readonly string[]): Promise<string> {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url))
  const child = spawn(process.execPath, [main, ...args, ...servers, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const runs = output.trimEnd().split('\n').at(-1) ?? ''
  // What a peer did not finish is left out; without ours there is nothing that could be set beside it.
  if (!runs.startsWith('[') || runsOf(runs).every(({ subject }) => subject !== 'tenantry'))
    throw new TenantryError(
      'TENANTRY_BENCH_STEP',
      `bench ${args.join(' ')} ended with ${code} and gave no runs of tenantry.`,
    )
  return runs
}
