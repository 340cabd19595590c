import { Command, InvalidArgumentError, Option } from 'commander'
import { data, say, tellError } from '../cli/output.ts'
import { exitCodeOf } from '../cli/exit.ts'
import { TenantryError } from '../core/errors.ts'
import { requireProgram } from '../tools/run/runtime.ts'
import { createDeadLetterTopic, deleteOldTopics } from './backlog.ts'
import { configurations, labelOf, type Pair, pairs } from './configuration.ts'
import { besideCalm } from './beside-calm.ts'
import type { Place } from './measure-daemon.ts'
import { reportOf } from './report.ts'
import { isRight, type Run } from './run.ts'
import { latency } from './scenarios/latency.ts'
import { sicknesses } from './sick-tenant.ts'
import { parking } from './scenarios/parking.ts'
import { startup } from './scenarios/startup.ts'
import { tenants } from './scenarios/tenants.ts'
import { throughput, type Workload, workloadNames } from './scenarios/throughput.ts'
import { findServers } from './servers.ts'

type Mode = 'message-id' | 'offset'

type Flags = {
  readonly on?: readonly string[]
  readonly runtime?: string
  readonly driver?: string
  readonly mode?: readonly string[]
  readonly ids: 'v4' | 'v7'
  readonly tenants: number
  readonly partitions: number
  readonly repeat: number
  readonly set: readonly string[]
  readonly variant: readonly string[]
  readonly checkout?: string
  readonly against?: string
  readonly profile?: boolean
  readonly quick?: boolean
  readonly kafka?: string
  readonly postgres?: string
  readonly json?: boolean
}

/** One thing to be run in a configuration. */
type Job = { readonly name: string; run(place: Place): Promise<Run> }

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

shared(
  program
    .command('latency')
    .description('offers messages at a steady rate, and counts from when each should be sent to its commit'),
)
  .option('--rate <list>', 'messages a second, each a run', (text) => list(text).map(count))
  .option('--seconds <count>', 'measured ones', count)
  .option('--warm-up-seconds <count>', 'before them, at the same rate', count)
  .action(async (flags: Flags & { rate?: readonly number[]; seconds?: number; warmUpSeconds?: number }) => {
    const rates = flags.rate ?? (flags.quick === true ? [1_000] : [1_000, 10_000, 50_000])
    const seconds = flags.seconds ?? (flags.quick === true ? 5 : 30)
    const warmUpSeconds = flags.warmUpSeconds ?? (flags.quick === true ? 2 : 10)
    const jobs = rates.flatMap((ratePerSecond) =>
      modes(flags, ['message-id']).map(
        (mode): Job => ({
          name: `${ratePerSecond.toLocaleString('en')}/s, ${mode}`,
          run: (place) => latency(place, { ...flags, mode, ratePerSecond, seconds, warmUpSeconds }),
        }),
      ),
    )
    await runAll(flags, jobs, ['confluent', 'platformatic', 'bun'])
  })

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
    const jobs = sicknesses(ratePerSecond)
      .filter(({ kind }) => flags.kinds?.includes(kind) ?? true)
      .flatMap((sick) =>
        modes(flags, ['message-id']).map(
          (mode): Job => ({
            name: `${sick.name}, ${mode}`,
            run: (place) => latency(place, { ...flags, mode, ratePerSecond, seconds, warmUpSeconds: 5, sick }),
          }),
        ),
      )
    const runs = await runAll(flags, jobs, ['platformatic'])
    say(`\n${besideCalm(runs, sicknesses(ratePerSecond))}`)
  })

shared(program.command('parking').description('what it costs to park the records of tenants that are stuck'))
  .option('--messages <count>', 'parked ones', count)
  .option('--stuck-seconds <count>', 'that each tenant is held up', count, 60)
  .action(async (flags: Flags & { messages?: number; stuckSeconds: number }) => {
    const messages = flags.messages ?? (flags.quick === true ? 20_000 : 1_000_000)
    const jobs = modes(flags, ['message-id']).map(
      (mode): Job => ({
        name: `${flags.tenants.toLocaleString('en')} tenants, ${mode}`,
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

/** Options that every scenario has. */
function shared(command: Command): Command {
  return command
    .exitOverride()
    .option('--on <names>', `of ${Object.keys(pairs).join(', ')}: the two drivers on Node, and Bun`, list)
    .addOption(new Option('--runtime <name>', 'only this one').choices(['node', 'bun']))
    .addOption(new Option('--driver <name>', 'only this one').choices(['confluent', 'platformatic']))
    .option('--mode <names>', 'of message-id, offset', list)
    .addOption(new Option('--ids <kind>', 'of the messages').choices(['v4', 'v7']).default('v7'))
    .option('--tenants <count>', 'over which messages are spread', count, 1_000)
    .option('--partitions <count>', 'of the topic', count, 12)
    .option('--repeat <count>', 'rounds; configurations alternate within each', count, 1)
    .option('--set <key=value>', "a key of the daemon's configuration; may be repeated", collect, [])
    .option('--variant <name:key=value,…>', 'another configuration to alternate with; may be repeated', collect, [])
    .option('--checkout <folder>', 'whose daemon runs (default: this one)')
    .option('--against <folder>', 'another checkout to alternate with')
    .option('--profile', "say where the daemon's time goes (Node only; costs some of it)")
    .option('--quick', 'small runs: they show that everything works, and no more')
    .option('--kafka <addresses>', "host:port,…; with --postgres, instead of the checkout's own servers")
    .option('--postgres <url>', 'of a server on which databases may be made')
    .option('--json', 'all runs as one JSON array, in the last line of standard output')
}

async function runAll(flags: Flags, jobs: readonly Job[], byDefault: readonly Pair[]): Promise<readonly Run[]> {
  const on = (flags.on?.map(pair) ?? byDefault).filter(
    (name) =>
      (flags.runtime ?? pairs[name].runtime) === pairs[name].runtime &&
      (flags.driver ?? pairs[name].driver) === pairs[name].driver,
  )
  if (on.length === 0)
    throw new TenantryError(
      'TENANTRY_USAGE',
      'No pair of a runtime and a driver is left to run: confluent runs on Node only.',
    )
  const chosen = configurations({ ...flags, on })
  for (const { runtime } of chosen) requireProgram(runtime) // there, before an hour of the others
  const servers = await findServers(flags)
  await createDeadLetterTopic(servers)
  say(
    `PostgreSQL: ${Object.entries(servers.settings)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}`,
  )
  const day = Math.floor(Date.now() / 86_400_000)
  await deleteOldTopics(servers, day)
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
    start_ms: start,
    parked_rows: parked,
    heap,
    rate_per_second: rate,
    cpu_seconds_per_million: cpu,
  } = run
  const figure =
    ms !== undefined
      ? `p50 ${ms.p50} ms, p99 ${ms.p99} ms`
      : start !== undefined
        ? `first commit after ${start} ms`
        : parked !== undefined
          ? `${parked.toLocaleString('en')} parked in ${run.parking_seconds} s, processed in ${run.feeding_seconds} s`
          : heap !== undefined
            ? `${heap.bytes_per_warm_tenant} bytes a warm tenant`
            : `${rate.toLocaleString('en')}/s`
  return `${figure}, ${cpu} CPU s a million; lost ${run.lost}, duplicated ${run.duplicated}, reordered ${run.reordered}`
}

function modes(flags: Flags, byDefault: readonly Mode[]): readonly Mode[] {
  return (flags.mode ?? byDefault).map((name) => {
    if (name === 'message-id' || name === 'offset') return name
    throw new TenantryError('TENANTRY_USAGE', `--mode is message-id or offset, not ${name}.`)
  })
}

function workload(name: string): Workload {
  const found = workloadNames.find((known) => known === name)
  if (found === undefined)
    throw new TenantryError('TENANTRY_USAGE', `--scenario is of ${workloadNames.join(', ')} or all, not ${name}.`)
  return found
}

function pair(name: string): Pair {
  if (name === 'confluent' || name === 'platformatic' || name === 'bun') return name
  throw new TenantryError('TENANTRY_USAGE', `--on is of ${Object.keys(pairs).join(', ')}, not ${name}.`)
}

function list(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value]
}

function count(text: string): number {
  const value = Number(text.replaceAll('_', ''))
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('a whole number is wanted')
  return value
}

try {
  await program.parseAsync()
} catch (error) {
  tellError(error, false)
  process.exitCode = exitCodeOf(error)
}
