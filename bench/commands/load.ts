import { TenantryError } from '../../core/errors.ts'
import { type Bench, count, type Flags, type Job, list, modes } from '../flags.ts'
import { lag } from '../scenarios/lag.ts'
import { recovery, type RecoveryKind, recoveryKinds } from '../scenarios/recovery.ts'
import { stress } from '../scenarios/stress.ts'

type Protocol = 'consumer' | 'classic'

type RecoveryFlags = Flags & {
  readonly rate?: number
  readonly calmSeconds?: number
  readonly kinds?: readonly string[]
  readonly protocol?: readonly string[]
}

/** `bench lag`. */
export function lagCommand(bench: Bench): void {
  bench
    .command('lag', 'works off what piled up while nobody read, with as much a second still coming')
    .option('--rate <count>', 'messages a second', count)
    .option('--backlog-seconds <count>', 'in which the backlog piled up', count)
    .option('--limit-seconds <count>', 'after which it is given up', count, 1_800)
    .action(async (flags: Flags & { rate?: number; backlogSeconds?: number; limitSeconds: number }) => {
      const ratePerSecond = flags.rate ?? (flags.quick === true ? 500 : 20_000)
      const backlogSeconds = flags.backlogSeconds ?? (flags.quick === true ? 20 : 600)
      const jobs = modes(flags, ['message-id']).map(
        (mode): Job => ({
          name: `${backlogSeconds} s at ${ratePerSecond.toLocaleString('en')}/s, ${mode}`,
          run: (place) => lag(place, { ...flags, mode, ratePerSecond, backlogSeconds }),
        }),
      )
      await bench.runAll(flags, jobs, ['platformatic'])
    })
}

/** `bench recovery`. */
export function recoveryCommand(bench: Bench): void {
  bench
    .command('recovery', 'how long lag and latency take to be as before when a daemon is killed, restarted or added')
    .option('--rate <count>', 'messages a second', count)
    .option('--calm-seconds <count>', 'before anything happens: they give the bounds', count)
    .option('--kinds <names>', `of ${recoveryKinds.join(', ')}`, list)
    .option('--protocol <names>', 'of consumer (KIP-848), classic', list)
    .action(async (flags: RecoveryFlags) => {
      const quick = flags.quick === true
      const ratePerSecond = flags.rate ?? (quick ? 500 : 5_000)
      const calmSeconds = flags.calmSeconds ?? (quick ? 4 : 20)
      const kinds = (flags.kinds ?? (quick ? ['restart'] : recoveryKinds)).map(kindOf)
      const protocols = (flags.protocol ?? (quick ? ['consumer'] : ['consumer', 'classic'])).map(protocolOf)
      const jobs = kinds.flatMap((kind) =>
        protocols.flatMap((protocol) =>
          modes(flags, ['message-id']).map(
            (mode): Job => ({
              name: `${kind}, ${protocol}, ${mode}`,
              run: (place) => recovery(place, { ...flags, kind, protocol, mode, ratePerSecond, calmSeconds }),
            }),
          ),
        ),
      )
      await bench.runAll(flags, jobs, ['platformatic'])
    })
}

type StressFlags = Flags & {
  readonly duration?: number
  readonly rate?: number
  readonly faults?: boolean
}

/** `bench stress`. */
export function stressCommand(bench: Bench): void {
  bench
    .command('stress', 'a steady rate over tenants by the law of Zipf, judged by the objectives each minute')
    .option('--duration <seconds>', 'after the warm-up', count)
    .option('--rate <count>', 'messages a second', count)
    .option('--faults', 'each third minute ends a worker, kills the daemon or terminates a backend')
    .action(async (flags: StressFlags) => {
      const quick = flags.quick === true
      const ratePerSecond = flags.rate ?? (quick ? 500 : 2_000)
      const durationSeconds = flags.duration ?? (quick ? 9 : 3_600)
      const minuteSeconds = quick ? 3 : 60
      const warmUpSeconds = quick ? 3 : 30
      const faults = flags.faults === true
      const jobs = modes(flags, ['message-id']).map(
        (mode): Job => ({
          name: `stress, ${ratePerSecond.toLocaleString('en')}/s for ${durationSeconds} s, ${mode}`,
          run: (place) =>
            stress(place, { ...flags, mode, ratePerSecond, durationSeconds, minuteSeconds, warmUpSeconds, faults }),
        }),
      )
      const runs = await bench.runAll(flags, jobs, ['platformatic'])
      // A quick minute is too short to be judged.
      const bad = quick ? [] : runs.filter(({ objectives_held: held }) => held === false)
      if (bad.length > 0)
        throw new TenantryError('TENANTRY_BENCH_OBJECTIVES', 'The objectives did not hold: see what was missed above.')
    })
}

function kindOf(name: string): RecoveryKind {
  const found = recoveryKinds.find((kind) => kind === name)
  if (found === undefined)
    throw new TenantryError('TENANTRY_USAGE', `--kinds is of ${recoveryKinds.join(', ')}, not ${name}.`)
  return found
}

function protocolOf(name: string): Protocol {
  if (name === 'consumer' || name === 'classic') return name
  throw new TenantryError('TENANTRY_USAGE', `--protocol is consumer or classic, not ${name}.`)
}
