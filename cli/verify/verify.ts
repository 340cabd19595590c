import type postgres from 'postgres'
import { TenantryError } from '../../core/errors.ts'
import type { KafkaConnection } from '../../core/kafka/options.ts'
import { requireSchema } from '../../core/postgres/migrate.ts'
import { withSession } from '../../core/postgres/session.ts'
import { explained } from '../postgres-errors.ts'
import type { Snapshot } from './tables.ts'
import { checkChains } from './chains.ts'
import { checkEffects, checkOrder } from './effects.ts'
import { textOf } from './ids.ts'
import { checkKeys } from './keys.ts'
import { Log, type LoggedTopic } from './log.ts'
import type { ChainPlace, EffectsPlace, OrderPlace } from './places.ts'
import { consumedTopics, type ConsumedTopic, deadLetters, groupsIn, parkedRecords, retriedRecords } from './progress.ts'
import { Replay } from './replay.ts'
import { Findings, type Report } from './report.ts'

export type VerifyOptions = {
  readonly kafka: KafkaConnection
  /** `postgres://…` of the database that the group's effects are in. */
  readonly postgres: string
  /** May be left out where only one group has read anything. */
  readonly group?: string
  /** How the group's actors recognise a message: `message-id` when left out. */
  readonly mode?: 'message-id' | 'offset'
  /** Name of the header that holds the tenant; the record's key when left out. */
  readonly tenantHeader?: string
  readonly effects?: readonly EffectsPlace[]
  readonly orders?: readonly OrderPlace[]
  readonly chains?: readonly ChainPlace[]
}

/**
 * Recomputes from Kafka's logs and the tables what must be true of a group: every record that progress calls done has
 * exactly one outcome, and what the options name as effects is there once and in order. Reads only: in one snapshot of
 * the database, so a daemon may be at work meanwhile. Nothing of the engine takes part.
 *
 * Throws TENANTRY_VERIFY_GROUP when it cannot tell which group, TENANTRY_VERIFY_PLACE when effects cannot be read where
 * the options say, TENANTRY_VERIFY_UNREADABLE when a log cannot, and what `explained` and `requireSchema` throw.
 */
export function verify(options: VerifyOptions): Promise<Report> {
  return explained(compare(options))
}

/** Of a table of any size. */
const session = { name: 'tenantry verify', statementMs: 0 }

function compare(options: VerifyOptions): Promise<Report> {
  return withSession(options.postgres, session, async (sql) => {
    await requireSchema(sql)
    const group = options.group ?? (await onlyGroup(sql))
    const log = new Log(options.kafka, group)
    try {
      // Kafka first: what the group commits there meanwhile must not look as if it were ahead of PostgreSQL.
      const committed = await committedOffsets(log, await consumedTopics(sql, group))
      return await sql.begin('isolation level repeatable read read only', async (snapshot) => {
        await snapshot`set local idle_in_transaction_session_timeout = 0`
        return await inspect(snapshot, log, group, committed, options)
      })
    } finally {
      await log.close()
    }
  })
}

async function inspect(
  sql: Snapshot,
  log: Log,
  group: string,
  committed: ReadonlyMap<string, readonly number[]>,
  options: VerifyOptions,
): Promise<Report> {
  const { mode = 'message-id', effects = [], orders = [], chains = [] } = options
  const findings = new Findings()
  const topics = await consumedTopics(sql, group)
  if (topics.length === 0)
    throw new TenantryError(
      'TENANTRY_VERIFY_GROUP',
      `Group ${group} has read nothing in this database: check --group.`,
      {
        group,
      },
    )
  const letters = await deadLetters(sql, group)
  const parked = await parkedRecords(sql, group)
  const retried = await retriedRecords(sql, group)
  const { tenantHeader } = options
  const chained = chains.length > 0
  const replay = new Replay({ mode, tenantHeader, chained, deadLetters: letters, parked, retried, findings })
  const whole = await readLogs(log, topics, committed, replay, findings)
  if (whole) {
    for (const [place] of letters)
      findings.add({ fault: 'invented', what: `a dead letter that no record explains (${place})` })
    for (const [place] of parked)
      findings.add({ fault: 'invented', what: `a parked record that no record explains (${place})` })
    if (retried.size > 0)
      findings.remark(`${retried.size} rows of sys.retries are of no record that is to be tried again.`)
  }

  if (mode === 'message-id') {
    await checkKeys(sql, group, replay, whole, findings)
    loseWithoutKeys(replay, findings)
    findings.prove('lost', 'keys and dead letters', replay.records)
  }
  for (const place of effects) await checkEffects(sql, place, replay, whole, findings)
  for (const place of orders) await checkOrder(sql, place, replay, findings)
  if (whole) for (const place of chains) await checkChains(sql, group, place, replay, findings)
  else if (chains.length > 0)
    findings.remark('The chains were left out: Kafka has not kept the logs from where the group began to read.')

  const proofs = {
    lost: findings.proof('lost'),
    duplicated: findings.proof('duplicated'),
    reordered: findings.proof('reordered'),
  }
  const { lost, duplicated, reordered, invented } = findings.counts
  const proven = Object.values(proofs).some((proof) => proof.proven && proof.checked > 0)
  if (!proven) findings.remark('Nothing could be proven: name the actor’s effects by --effects, --order or --chain.')
  return {
    group,
    mode,
    topics: [...new Set(topics.map(({ topic }) => topic))],
    records: replay.records,
    processed: replay.processed,
    duplicates: replay.duplicates,
    replayed: replay.replayed,
    dead_letters: replay.dead,
    skipped: replay.skipped,
    // Of those that are not in the log any more there is at least the row.
    waiting: replay.waiting + parked.size,
    parked: replay.parked + parked.size,
    retried: replay.retried,
    ...findings.counts,
    proofs,
    findings: findings.examples,
    remarks: [...findings.remarks],
    ok: lost + duplicated + reordered + invented === 0 && proven,
  }
}

/** Reads everything; whether that was all that the group has ever read. */
async function readLogs(
  log: Log,
  topics: readonly ConsumedTopic[],
  committed: ReadonlyMap<string, readonly number[]>,
  replay: Replay,
  findings: Findings,
): Promise<boolean> {
  const found: { topic: ConsumedTopic; logged: LoggedTopic }[] = []
  for (const topic of topics) {
    const logged = await log.describe(topic.topic)
    if (logged !== undefined && logged.id === topic.topicId) found.push({ topic, logged })
    else
      findings.remark(`Topic ${topic.topic} with id ${topic.topicId} is gone: what was read of it cannot be checked.`)
  }
  let whole = found.length === topics.length
  for (const { topic, logged } of found) {
    for (const [partition, { watermark, rerunTo }] of topic.partitions.entries()) {
      if (rerunTo > 0)
        findings.remark(
          `${topic.topic}, partition ${partition} ran again up to ${rerunTo}, as an operator said: what was inserted then is there more than once.`,
        )
      const [start = 0, end = 0] = [logged.starts[partition], logged.ends[partition]]
      if (start > (topic.begun[partition] ?? 0) && watermark > (topic.begun[partition] ?? 0)) whole = false
      const ahead = (committed.get(topic.topicId)?.[partition] ?? -1) - watermark
      if (ahead > 0)
        findings.add(
          {
            fault: 'lost',
            what: `Kafka's offset of the group is ${ahead} beyond what is done (${watermark})`,
            topic: topic.topic,
            partition,
          },
          ahead,
        )
      replay.enter(topic, partition)
      for await (const records of log.read(topic.topic, partition, start, end)) {
        for (const record of records) replay.take(record)
      }
    }
  }
  replay.finish()
  return whole
}

function loseWithoutKeys(replay: Replay, findings: Findings): void {
  const { messages } = replay
  for (let number = 0; number < messages.size; number++) {
    if (replay.expected(number) > 0 && messages.keys[number] === 0)
      findings.add({
        fault: 'lost',
        what: 'a record that is done, and neither a key nor a dead letter of it',
        messageId: textOf(messages.id(number)),
        ...replay.where(number),
      })
  }
}

async function committedOffsets(log: Log, topics: readonly ConsumedTopic[]) {
  const offsets = new Map<string, readonly number[]>()
  for (const { topic, topicId } of topics) {
    const logged = await log.describe(topic)
    if (logged?.id === topicId) offsets.set(topicId, await log.committed(topic))
  }
  return offsets
}

async function onlyGroup(sql: postgres.Sql): Promise<string> {
  const groups = await groupsIn(sql)
  const [group] = groups
  if (group !== undefined && groups.length === 1) return group
  throw new TenantryError(
    'TENANTRY_VERIFY_GROUP',
    groups.length === 0
      ? 'No group has read anything in this database yet: there is nothing to verify.'
      : `Several groups have read here: name one by --group (${groups.join(', ')}).`,
    { groups },
  )
}
