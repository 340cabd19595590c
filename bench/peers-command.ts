import { Command } from 'commander'
import { data, say } from '../cli/output.ts'
import { messageOf, TenantryError } from '../core/errors.ts'
import { type Contestant, contestantOf, tenantry } from './contestant.ts'
import { chosenConfigurations, count, type Flags, list, ready, shared } from './flags.ts'
import { HttpTarget } from './http-target.ts'
import { peers } from './peers/all.ts'
import { type Peer, waitingKeys, type WorkKind, workKinds } from './peers/peer.ts'
import { reportOf } from './report.ts'
import { isRight, type Run } from './run.ts'
import { besidePeers, disturbedBesidePeers, type PeersOptions, writesRows } from './scenarios/peers.ts'
import { recordsFor } from './sizing.ts'

type PeersFlags = Flags & {
  readonly works?: readonly string[]
  readonly peers?: readonly string[]
  readonly rounds?: number
  readonly keys?: readonly number[]
  readonly messages?: number
  readonly most: number
  readonly disturbed?: boolean
}

/** A kind of work with messages of so many keys. */
type Match = { readonly work: WorkKind; readonly keys: number }

const rowWorks = workKinds.filter(writesRows)

/** Enough to show that everything works. */
const quickRecords = 2_000

/** `bench peers`: tenantry and others, in turns, on the same topic and with the same work. */
export function peersCommand(): Command {
  const names = peers.map(({ name }) => name)
  return shared(
    new Command('peers').description(
      'measures what one would use instead beside tenantry, in turns, and checks it too',
    ),
  )
    .option(
      '--works <names>',
      `of ${workKinds.join(', ')} (default: all but row; with --disturbed ${rowWorks.join(', ')})`,
      list,
    )
    .option('--peers <names>', `of ${names.join(', ')}; all when left out`, list)
    .option('--rounds <count>', 'in each of which everybody has a turn (default: 5)', count)
    .option('--keys <list>', 'that messages are spread over, each its own runs', (text) => list(text).map(count))
    .option('--messages <count>', 'for everybody; when left out, what a run of about 15 s takes', count)
    .option('--most <count>', 'messages, however fast somebody is', count, 1_000_000)
    .option('--disturbed', 'kill members, let others join and leave, and count what that has cost')
    .action(runPeers)
}

async function runPeers(flags: PeersFlags): Promise<void> {
  const quick = flags.quick === true
  const disturbed = flags.disturbed === true
  const paced = flags.messages === undefined && !quick
  const matches = matchesOf(flags)
  const others = flags.peers?.map(peerOf) ?? peers
  const ours = chosenConfigurations(flags, ['platformatic']).map(tenantry)
  const contestants = [...ours, ...others.map(contestantOf)]
  const { servers, day } = await ready(flags)
  const target = await HttpTarget.start()
  const [runs, failures]: [Run[], string[]] = [[], []]
  const play = disturbed ? disturbedBesidePeers : besidePeers
  try {
    const optionsOf = (match: Match, records: number): PeersOptions => ({
      ...{ servers, day, partitions: flags.partitions, ids: flags.ids, target },
      ...match,
      records,
    })
    for (const match of matches) {
      const entered: { readonly contestant: Contestant; readonly records: number }[] = []
      for (const contestant of contestants.filter(({ works }) => works.includes(match.work))) {
        const records = await attempt(failures, contestant, match, async () => {
          if (!paced) return flags.messages ?? quickRecords
          return recordsFor(flags.most, (some) => besidePeers(contestant, optionsOf(match, some)))
        })
        if (records !== undefined) entered.push({ contestant, records })
      }
      for (let round = 0; round < (flags.rounds ?? (quick ? 1 : 5)); round++) {
        for (const { contestant, records } of entered) {
          const run = await attempt(failures, contestant, match, () => play(contestant, optionsOf(match, records)))
          if (run === undefined) continue
          runs.push(paced ? { ...run, paced } : run)
          say(
            `[round ${round + 1}] ${run.scenario}, ${contestant.name}: ${run.rate_per_second.toLocaleString('en')}/s${counted(run)}`,
          )
        }
      }
    }
  } finally {
    await target.stop()
  }
  say(`\n${reportOf(runs)}`)
  if (flags.json === true) data(JSON.stringify(runs))
  conclude(runs, failures)
}

/** Of work that leaves nothing to count by there is nothing to say. */
function counted({ checked, lost, duplicated, reordered }: Run): string {
  return checked === 'count' ? '' : `; lost ${lost}, duplicated ${duplicated}, reordered ${reordered}`
}

/** What peers lose or double is a finding; what tenantry does, and a run that nobody finished, is an error. */
function conclude(runs: readonly Run[], failures: readonly string[]): void {
  const wrong = runs.filter((run) => run.subject === 'tenantry' && !isRight(run)).length
  if (wrong > 0)
    throw new TenantryError(
      'TENANTRY_BENCH_WRONG',
      `In ${wrong} of ${runs.length} runs tenantry has lost, doubled, reordered or given up something.`,
    )
  if (failures.length > 0) throw new TenantryError('TENANTRY_BENCH_UNFINISHED', `Not finished: ${failures.join('; ')}.`)
}

/** Undefined when it fails: the others go on. */
async function attempt<T>(
  failures: string[],
  { name }: Contestant,
  { work, keys }: Match,
  what: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await what()
  } catch (error) {
    say(messageOf(error))
    failures.push(`${name}, ${work}, ${keys} keys`)
    return undefined
  }
}

function matchesOf(flags: PeersFlags): readonly Match[] {
  const disturbed = flags.disturbed === true
  const works = flags.works?.map(workOf) ?? (disturbed ? rowWorks : workKinds.filter((work) => work !== 'row'))
  const uncounted = works.filter((work) => disturbed && !writesRows(work))
  if (uncounted.length > 0)
    throw new TenantryError(
      'TENANTRY_USAGE',
      `--disturbed counts what is wrong by rows, which ${uncounted.join(' and ')} does not leave: its --works is of ${rowWorks.join(', ')}.`,
    )
  return works.flatMap((work) => {
    const byDefault = work === 'wait' && flags.quick !== true ? waitingKeys : [flags.tenants]
    return (flags.keys ?? byDefault).map((keys) => ({ work, keys }))
  })
}

function workOf(name: string): WorkKind {
  const found = workKinds.find((known) => known === name)
  if (found === undefined)
    throw new TenantryError('TENANTRY_USAGE', `--works is of ${workKinds.join(', ')}, not ${name}.`)
  return found
}

function peerOf(name: string): Peer {
  const found = peers.find((known) => known.name === name)
  if (found === undefined)
    throw new TenantryError(
      'TENANTRY_USAGE',
      `--peers is of ${peers.map((peer) => peer.name).join(', ')}, not ${name}.`,
    )
  return found
}
