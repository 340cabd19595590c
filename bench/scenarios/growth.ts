import type postgres from 'postgres'
import { backlogOf, produce } from '../backlog.ts'
import { type CommittedRows, commitsOf, windowAfter } from '../commits.ts'
import { type Content, Messages } from '../content.ts'
import type { Sizes } from '../growth.ts'
import { afterKeysMs, fillKeys, openSnapshot } from '../known-keys.ts'
import type { Crew } from '../crew.ts'
import type { Daemon } from '../daemon.ts'
import { measureDaemon, type Place, type Task } from '../measure-daemon.ts'
import { type Finding, round, type Session } from '../measure.ts'
import { peakMemoryOf } from '../meter.ts'
import { withOwnTopic } from '../own-topic.ts'
import type { Run } from '../run.ts'

export type GrowthRunOptions = Sizes & { readonly mode: 'message-id' | 'offset'; readonly ids: 'v4' | 'v7' }

/** Works off messages with one size of the whole varied: what a message costs, and the memory that it takes. */
export async function growth(place: Place, options: GrowthRunOptions): Promise<Run> {
  const { grown, mode, ids, tenants, partitions, workers, effects, payloadBytes } = options
  const content: Content = {
    kind: 'order',
    records: options.messages + options.warmUp,
    tenants,
    spread: 'numbered',
    ids,
    copyEvery: 0,
    day: place.day,
    ...(payloadBytes !== undefined && { payloadBytes }),
    ...(options.keys > 0 && { dayMs: afterKeysMs }),
  }
  const messages = new Messages(content)
  let snapshot: Awaited<ReturnType<typeof openSnapshot>> | undefined
  const task: Task = {
    scenario: 'growth',
    actor: 'effects',
    mode,
    messages,
    partitions,
    // With the daemon there already, each would wait for tables that the other has.
    async prepare(database) {
      if (options.keys > 0) await fillKeys(database.sql, { day: place.day, keys: options.keys, tenants })
      if (options.snapshot) snapshot = await openSnapshot(database.url)
    },
  }
  const there: Place = {
    ...place,
    settings: [...(place.settings ?? []), ...(workers === undefined ? [] : [`workers.count=${workers}`])],
    env: { ...place.env, BENCH_EFFECTS: String(effects) },
  }
  const worked = (topic: string, produced: (crew: Crew<Daemon>) => Promise<void>) =>
    measureDaemon(there, task, topic, async (session) => {
      await produced(session.subject)
      await session.reach(content.records)
      await snapshot?.close()
      snapshot = undefined
      return { ...(await findingOf(session, options, content.records)), grown }
    })
  try {
    if (grown.of !== 'daemons') return await worked(await backlogOf(place.servers, content, partitions), async () => {})
    // Several share a load once all of them are there, and not when the messages wait already.
    return await withOwnTopic(place.servers, { name: 'growth', day: place.day, partitions }, ({ topic, publisher }) =>
      worked(topic, async (crew) => {
        while (crew.running.length < options.daemons) await crew.join()
        for (const daemon of crew.running) await crew.ready(daemon)
        await produce(publisher, topic, messages)
      }),
    )
  } finally {
    await snapshot?.close() // of a run that has failed
  }
}

async function findingOf(
  { subject: crew, database }: Session<Crew<Daemon>>,
  options: GrowthRunOptions,
  records: number,
): Promise<Finding> {
  const { effects, warmUp } = options
  const rss = crew.running.reduce((sum, { pid }) => sum + peakMemoryOf(pid), 0)
  if (effects > 0) {
    const window = windowAfter(await commitsOf(database.sql), warmUp)
    const more = await moreEffects(database.sql)
    const wanted = records * (effects - 1)
    return {
      messages: window.rows,
      records,
      window,
      rss_peak_bytes: rss,
      ...(more !== wanted && { altered: Math.abs(more - wanted) }),
    }
  }
  // Without rows the keys say what was done, though not in which order.
  const commits = await commitsOfKeys(database.sql)
  const window = windowAfter(commits, warmUp)
  const keys = commits.reduce((sum, { rows }) => sum + rows, 0)
  const readyAt = crew.readyAt() ?? crew.startedAt
  return {
    messages: window.rows,
    records,
    window,
    rss_peak_bytes: rss,
    rows_per_commit: round(keys / Math.max(1, commits.length), 1),
    rate_from_start_per_second: Math.round((records / Math.max(1, window.to - readyAt)) * 1_000),
    checked: 'count',
    lost: Math.max(0, records - keys),
    altered: Math.max(0, keys - records),
  }
}

async function moreEffects(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*)::integer as count from more_effects`
  return row?.count ?? 0
}

/** As `commitsOf`, of the keys that were claimed. */
async function commitsOfKeys(sql: postgres.Sql): Promise<readonly CommittedRows[]> {
  return sql<CommittedRows[]>`
    select extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 as at, count(*)::integer as rows
    from sys.request_keys
    group by xmin
    order by at`
}
