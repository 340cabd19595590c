import { Command } from 'commander'
import { data, say } from '../cli/output.ts'
import { TenantryError } from '../core/errors.ts'
import { besideCalmText } from './beside-calm.ts'
import { allCommand } from './commands/all.ts'
import { compareCommand } from './commands/compare.ts'
import { growthCommand } from './commands/growth.ts'
import { latencyCommand } from './commands/latency.ts'
import { lagCommand, recoveryCommand, stressCommand } from './commands/load.ts'
import { reportCommand } from './commands/report.ts'
import { labelOf, type Pair } from './configuration.ts'
import { type Bench, chosenConfigurations, count, type Flags, type Job, list, modes, ready, shared } from './flags.ts'
import { peersCommand } from './peers-command.ts'
import { reportOf } from './report.ts'
import { isRight, type Recovery, type Run } from './run.ts'
import { latency } from './scenarios/latency.ts'
import { sicknesses } from './sick-tenant.ts'
import { parking } from './scenarios/parking.ts'
import { startup } from './scenarios/startup.ts'
import { tenants } from './scenarios/tenants.ts'
import { throughput, type Workload, workloadNames } from './scenarios/throughput.ts'

/** The bench's command line. A command that fails rejects with a TenantryError. */
export function benchProgram(): Command {
  const program = new Command('bench')
    .description(
      'Measures the daemon on real servers, and checks afterwards that nothing was lost, doubled or reordered.',
    )
    .showHelpAfterError()
    .exitOverride()

  shared(program.command('throughput').description('works off a backlog'))
    .option('--scenario <names>', `of ${workloadNames.join(', ')}; or all`, list, ['rows', 'state', 'webhooks'])
    .option('--messages <count>', 'measured ones; webhooks are a tenth of it', count)
    .option('--warm-up <count>', 'messages before them', count)
    .action(async (flags: Flags & { scenario: readonly string[]; messages?: number; warmUp?: number }) => {
      const chosen = flags.scenario.includes('all') ? workloadNames : flags.scenario.map(workload)
      const messages = flags.messages ?? (flags.quick === true ? 18_000 : 1_000_000)
      const warmUp = flags.warmUp ?? (flags.quick === true ? 2_000 : 200_000)
      const jobs = chosen.flatMap((name) =>
        modes(flags, name === 'rows' ? ['message-id', 'offset'] : ['message-id']).map(
          (mode): Job => ({
            name: `${name}, ${mode}`,
            run: (place) => throughput(place, { ...flags, workload: name, mode, messages, warmUp }),
          }),
        ),
      )
      await runAll(flags, jobs, ['confluent', 'platformatic', 'bun'])
    })

  const bench: Bench = {
    command: (name, description) => shared(program.command(name).description(description)),
    runAll,
  }
  latencyCommand(bench)
  lagCommand(bench)
  recoveryCommand(bench)
  stressCommand(bench)
  growthCommand(bench)

  shared(
    program
      .command('isolation')
      .description('what the others of 1,000 tenants wait when one is sick: latency beside that of a calm run'),
  )
    .option('--rate <count>', 'messages a second of all others', count, 10_000)
    .option('--seconds <count>', 'measured ones', count)
    .option('--kinds <names>', 'of calm, failing, hanging, flooding, blocking, open-breaker', list)
    .action(async (flags: Flags & { rate: number; seconds?: number; kinds?: readonly string[] }) => {
      const seconds = flags.seconds ?? (flags.quick === true ? 5 : 30)
      const ratePerSecond = flags.quick === true ? 1_000 : flags.rate
      const warmUpSeconds = flags.quick === true ? 2 : 5
      const jobs = sicknesses(ratePerSecond)
        .filter(({ kind }) => flags.kinds?.includes(kind) ?? true)
        .flatMap((sick) =>
          modes(flags, ['message-id']).map(
            (mode): Job => ({
              name: `${sick.name}, ${mode}`,
              run: (place) => latency(place, { ...flags, mode, ratePerSecond, seconds, warmUpSeconds, sick }),
            }),
          ),
        )
      const runs = await runAll(flags, jobs, ['platformatic'])
      say(`\n${besideCalmText(runs)}`)
    })

  shared(program.command('parking').description('what it costs to park the records of tenants that are stuck'))
    .option('--messages <count>', 'parked ones', count)
    .option('--stuck-seconds <count>', 'that each tenant is held up', count, 60)
    .action(async (flags: Flags & { messages?: number; stuckSeconds: number }) => {
      const messages = flags.messages ?? (flags.quick === true ? 20_000 : 1_000_000)
      const jobs = modes(flags, ['message-id']).map(
        (mode): Job => ({
          name: `${flags.tenants === 1 ? 'one tenant' : `${flags.tenants.toLocaleString('en')} tenants`}, ${mode}`,
          run: (place) => parking(place, { ...flags, mode, messages }),
        }),
      )
      await runAll(flags, jobs, ['platformatic'])
    })

  shared(program.command('startup').description('from starting the process to the first commit, with a backlog there'))
    .option('--messages <count>', 'in the backlog', count, 20_000)
    .action(async (flags: Flags & { messages: number }) => {
      const jobs = modes(flags, ['message-id']).map(
        (mode): Job => ({ name: mode, run: (place) => startup(place, { ...flags, mode }) }),
      )
      await runAll(flags, jobs, ['confluent', 'platformatic', 'bun'])
    })

  shared(program.command('tenants').description('what tenants of one record each cost in memory (Node only)'))
    .option('--count <count>', 'tenants', count)
    .action(async (flags: Flags & { count?: number }) => {
      const number = flags.count ?? (flags.quick === true ? 20_000 : 1_000_000)
      const jobs = modes(flags, ['message-id']).map(
        (mode): Job => ({
          name: `${number.toLocaleString('en')} tenants, ${mode}`,
          run: (place) => tenants(place, { ...flags, mode, tenants: number }),
        }),
      )
      await runAll(flags, jobs, ['platformatic'])
    })

  program.addCommand(peersCommand())
  reportCommand(program)
  compareCommand(program)
  allCommand(program)
  return program
}

async function runAll(flags: Flags, jobs: readonly Job[], byDefault: readonly Pair[]): Promise<readonly Run[]> {
  const chosen = chosenConfigurations(flags, byDefault)
  const { servers, day } = await ready(flags)
  const runs: Run[] = []
  const total = flags.repeat * jobs.length * chosen.length
  for (let round = 0; round < flags.repeat; round++) {
    for (const job of jobs) {
      for (const configuration of chosen) {
        const run = await job.run({ servers, configuration, day, profile: flags.profile === true })
        runs.push(run)
        say(`[${runs.length}/${total}] ${job.name}, ${labelOf(configuration)}: ${summary(run)}`)
        if (flags.profile === true) say(`  threads: ${JSON.stringify(run.thread_cpu_seconds)}`)
        for (const line of run.profile ?? []) say(`  ${line}`)
      }
    }
  }
  const text = reportOf(runs)
  say(`\n${text}`)
  if (flags.json === true) data(JSON.stringify(runs))
  const wrong = runs.filter((run) => !isRight(run)).length
  if (wrong > 0)
    throw new TenantryError(
      'TENANTRY_BENCH_WRONG',
      `In ${wrong} of ${runs.length} runs something was lost, doubled, reordered or given up.`,
    )
  return runs
}

function summary(run: Run): string {
  const {
    latency_ms: ms,
    offered_per_second: offered,
    search,
    recovery,
    backlog,
    start_ms: start,
    parked_rows: parked,
    heap,
    rate_per_second: rate,
    cpu_seconds_per_million: cpu,
  } = run
  const figure =
    recovery !== undefined
      ? recovery.map(toldRecovery).join('; ')
      : backlog !== undefined
        ? `a backlog of ${backlog.messages.toLocaleString('en')} ${backlog.drain_seconds === null ? 'was not worked off' : `worked off in ${backlog.drain_seconds} s`}`
        : ms !== undefined
          ? `${search === undefined ? '' : `${offered?.toLocaleString('en')}/s: `}p50 ${ms.p50} ms, p99 ${ms.p99} ms`
          : start !== undefined
            ? `first commit after ${start} ms`
            : parked !== undefined
              ? `${parked.toLocaleString('en')} parked in ${run.parking_seconds} s, processed in ${run.feeding_seconds} s`
              : heap !== undefined
                ? `${heap.bytes_per_warm_tenant} bytes a warm tenant`
                : `${rate.toLocaleString('en')}/s`
  return `${figure}, ${cpu} CPU s a million; lost ${run.lost}, duplicated ${run.duplicated}, reordered ${run.reordered}`
}

function toldRecovery({ kind, recovered_seconds: seconds, worst_p99: p99, worst_lag_seconds: lag }: Recovery): string {
  return `${kind}: ${seconds === null ? 'not recovered' : `recovered after ${seconds} s`}, at worst p99 ${p99} ms and lag ${lag} s`
}

function workload(name: string): Workload {
  const found = workloadNames.find((known) => known === name)
  if (found === undefined)
    throw new TenantryError('TENANTRY_USAGE', `--scenario is of ${workloadNames.join(', ')} or all, not ${name}.`)
  return found
}
