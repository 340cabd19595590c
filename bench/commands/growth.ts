import { say } from '../../cli/output.ts'
import { TenantryError } from '../../core/errors.ts'
import { type Bench, count, type Flags, type Job, list, modes } from '../flags.ts'
import { dimensions, sizesOf } from '../growth.ts'
import { growthText } from '../reporting/growth.ts'
import { growth } from '../scenarios/growth.ts'

type GrowthFlags = Flags & {
  readonly of: readonly string[]
  readonly messages?: number
  readonly warmUp?: number
  readonly keys: number
}

/** `bench growth`: how cost grows with each size of the whole. */
export function growthCommand(bench: Bench): void {
  bench
    .command('growth', 'how what a message costs, and memory, grow with tenants, partitions and other sizes')
    .option('--of <names>', `of ${dimensions.join(', ')}`, list, [...dimensions])
    .option('--messages <count>', 'measured ones', count)
    .option('--warm-up <count>', 'messages before them', count)
    .option('--keys <count>', 'the most keys that are there before the first message', count, 100_000_000)
    .action(async (flags: GrowthFlags) => {
      const quick = flags.quick === true
      const options = {
        tenants: flags.tenants,
        partitions: flags.partitions,
        messages: flags.messages ?? (quick ? 9_000 : 300_000),
        warmUp: flags.warmUp ?? (quick ? 1_000 : 100_000),
        keys: flags.keys,
        quick,
      }
      const jobs = flags.of
        .map(dimension)
        .flatMap((of) => sizesOf(of, options))
        .flatMap((sizes) =>
          // Without a row a message must have its key, or nothing says that it was done.
          modes(sizes.effects === 0 ? { ...flags, mode: ['message-id'] } : flags, ['message-id']).map(
            (mode): Job => ({
              name: `${sizes.grown.of} ${sizes.grown.at.toLocaleString('en')}, ${mode}`,
              run: (place) => growth(place, { ...sizes, mode, ids: flags.ids }),
            }),
          ),
        )
      say(growthText(await bench.runAll(flags, jobs, ['platformatic'])))
    })
}

function dimension(name: string): (typeof dimensions)[number] {
  const found = dimensions.find((known) => known === name)
  if (found === undefined)
    throw new TenantryError('TENANTRY_USAGE', `--of is of ${dimensions.join(', ')}, not ${name}.`)
  return found
}
