import { type Bench, count, type Flags, type Job, list, modes } from '../flags.ts'
import { latency } from '../scenarios/latency.ts'
import { search } from '../scenarios/search.ts'

type LatencyFlags = Flags & {
  readonly rate?: readonly number[]
  readonly seconds?: number
  readonly warmUpSeconds?: number
  readonly search?: boolean
  readonly most: number
}

/** `bench latency`, and with `--search` the highest rate at which the objectives hold. */
export function latencyCommand(bench: Bench): void {
  bench
    .command('latency', 'offers messages at a steady rate, and counts from when each should be sent to its commit')
    .option('--rate <list>', 'messages a second, each a run; with --search the one to begin with', (text) =>
      list(text).map(count),
    )
    .option('--seconds <count>', 'measured ones', count)
    .option('--warm-up-seconds <count>', 'before them, at the same rate', count)
    .option('--search', 'finds the highest rate at which p50 < 50 ms, p99 < 200 ms and lag < 5 min hold')
    .option('--most <count>', 'messages a second that a search does not go beyond', count, 200_000)
    .action(async (flags: LatencyFlags) => {
      const quick = flags.quick === true
      const rates = flags.rate ?? (quick || flags.search === true ? [1_000] : [1_000, 10_000, 50_000])
      const seconds = flags.seconds ?? (quick ? 5 : flags.search === true ? 60 : 30)
      const warmUpSeconds = flags.warmUpSeconds ?? (quick ? 2 : 10)
      const most = quick ? Math.min(flags.most, 2_000) : flags.most
      const jobs = rates.flatMap((ratePerSecond) =>
        modes(flags, ['message-id']).map((mode): Job => {
          const options = { ...flags, mode, seconds, warmUpSeconds }
          return flags.search === true
            ? {
                name: `highest rate, ${mode}`,
                run: (place) => search(place, { ...options, first: ratePerSecond, most }),
              }
            : {
                name: `${ratePerSecond.toLocaleString('en')}/s, ${mode}`,
                run: (place) => latency(place, { ...options, ratePerSecond }),
              }
        }),
      )
      await bench.runAll(flags, jobs, flags.search === true ? ['platformatic'] : ['confluent', 'platformatic', 'bun'])
    })
}
