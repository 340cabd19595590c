import type postgres from 'postgres'
import { say } from '../../cli/output.ts'
import { TenantryError } from '../../core/errors.ts'
import { backlogOf } from '../backlog.ts'
import { checkRows, checkSent } from '../check.ts'
import { commitsOf, type Window, windowAfter } from '../commits.ts'
import { type Content, Messages } from '../content.ts'
import type { Contestant, PeerJob } from '../contestant.ts'
import { Crew } from '../crew.ts'
import { disturb } from '../disturb.ts'
import type { HttpTarget } from '../http-target.ts'
import { measure, type Trial } from '../measure.ts'
import type { WorkKind } from '../peers/peer.ts'
import type { Run } from '../run.ts'
import type { Servers } from '../servers.ts'
import type { Reached, Subject } from '../subject.ts'

export type PeersOptions = {
  readonly servers: Servers
  readonly day: number
  readonly work: WorkKind
  /** Over which the messages are spread. */
  readonly keys: number
  readonly records: number
  readonly partitions: number
  readonly ids: 'v4' | 'v7'
  /** That handlers call, where that is their work. */
  readonly target: HttpTarget
}

/** The part of the records before the measured ones. */
const warmUpShare = 0.2

/** One contestant works off a backlog. */
export async function besidePeers(contestant: Contestant, options: PeersOptions): Promise<Run> {
  const { job, trial } = await prepare(contestant, options)
  const { records } = options
  return measure<Subject>(
    { ...trial, launch: (home) => contestant.launch(home, job) },
    async ({ subject, database, reach }) => {
      const way = await reach(records)
      const warmUp = Math.floor(records * warmUpShare)
      const window = writesRows(options.work)
        ? windowAfter(await commitsOf(database.sql), warmUp)
        : windowOn([{ records: 0, at: subject.readyAt() ?? subject.startedAt }, ...way], warmUp)
      return { messages: window.rows, records, window }
    },
  )
}

/** The same while members are killed, join and leave: what is counted afterwards is what was lost, doubled or reordered. */
export async function disturbedBesidePeers(contestant: Contestant, options: PeersOptions): Promise<Run> {
  const { job, trial } = await prepare(contestant, options)
  const { records } = options
  return measure<Crew<Subject>>(
    {
      ...trial,
      scenario: `${trial.scenario}, disturbed`,
      launch: (home) =>
        Crew.of(
          () => contestant.launch(home, job),
          () => written(home.database.sql, records),
        ),
    },
    async ({ subject: crew, reach }) => {
      const from = Date.now()
      const disturbances = await disturb(crew, records, reach).catch((error: unknown) => {
        // What never comes is counted as lost.
        if (!(error instanceof TenantryError) || error.code !== 'TENANTRY_BENCH_STUCK') throw error
        say(error.message)
        return { kills: 2, joined: false }
      })
      return { messages: records, records, window: { from, to: Date.now() }, disturbances }
    },
  )
}

export function writesRows(work: WorkKind): boolean {
  return work === 'row' || work === 'transaction' || work === 'batch'
}

async function prepare(
  contestant: Contestant,
  { servers, day, work, keys, records, partitions, ids, target }: PeersOptions,
): Promise<{ readonly job: PeerJob; readonly trial: Omit<Trial<Subject>, 'launch'> }> {
  const content: Content = { kind: 'order', records, tenants: keys, spread: 'even', ids, copyEvery: 0, day }
  const topic = await backlogOf(servers, content, partitions)
  const job: PeerJob = { servers, work, topic, partitions, url: target.url }
  target.take() // what an earlier run has left
  const messages = new Messages(content)
  return {
    job,
    trial: {
      servers,
      scenario: `${work}, ${keys.toLocaleString('en')} ${keys === 1 ? 'key' : 'keys'}`,
      messages,
      partitions,
      describe: () => contestant.describe(job),
      async check({ sql }, count) {
        if (writesRows(work)) return { ...(await checkRows(sql, messages, count)), checked: 'rows' }
        if (work === 'http') return { ...checkSent(target.take(), messages, count), checked: 'calls' }
        // It has said that it is done with all, or there would be no run.
        return { lost: 0, duplicated: 0, reordered: 0, altered: 0, checked: 'count' }
      },
    },
  }
}

/** What came after the first `warmUp` records, as the subject has told; everything where it told too seldom. */
function windowOn(way: readonly Reached[], warmUp: number): Window {
  const last = way.at(-1) ?? { records: 0, at: 0 }
  const first = way.find(({ records }) => records >= warmUp && records < last.records) ?? way[0] ?? last
  return { from: first.at, to: last.at, rows: last.records - first.records }
}

/** Messages with a row. Rows are enough to know it by, until there might be all of them. */
async function written(sql: postgres.Sql, all: number): Promise<number> {
  const [rows] = await sql<{ count: number }[]>`select count(*)::integer as count from effects`
  if ((rows?.count ?? 0) < all) return rows?.count ?? 0
  const [messages] = await sql<{ count: number }[]>`select count(distinct n)::integer as count from effects`
  return messages?.count ?? 0
}
