import { hash } from 'node:crypto'
import type postgres from 'postgres'
import { z } from 'zod'
import { Log } from '../../cli/verify/log.ts'
import { verify } from '../../cli/verify/verify.ts'
import { actsOf, type TopicLog } from './history.ts'
import { judgeRetold } from './judge-retold.ts'
import { type Plan, poisonIn } from './plan.ts'

/** What is left of a run, for the checkers to look at. */
export type Scene = {
  readonly kafka: string
  readonly database: string
  readonly sql: postgres.Sql
  /** Group and topic have one name. */
  readonly topic: string
  readonly events: string
  readonly mode: 'message-id' | 'offset'
  readonly plan: Plan
  /** Records of the plan that Kafka has, or had. */
  readonly sent: number
  /** The logs of the topic's predecessors, which were deleted. */
  readonly gone: readonly TopicLog[]
}

export type Verdict = {
  readonly records: number
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
  readonly invented: number
  /** What is wrong, in words. */
  readonly findings: readonly string[]
}

/**
 * Two checkers that know nothing of each other: `tenantry verify` goes by Kafka's log, `replay` by the plan of what was
 * sent. The worse of each count stands. Where operators took part, the plan alone says no longer what must be there.
 */
export async function judge(scene: Scene): Promise<Verdict> {
  const acts = await actsOf(scene.sql, scene.topic)
  if (scene.gone.length > 0 || acts.length > 0) return judgeMoved(scene)
  const { sent } = scene
  const report = await verify({
    ...askedOf(scene),
    effects: [{ table: 'effects', column: 'message_id' }],
    orders: [{ table: 'effects', column: 'message_id', sequence: 'number' }],
    chains: [{ in: 'state', path: ['chain'] }],
  })
  const own = await replay(scene)
  const unproven = Object.entries(report.proofs)
    .filter(([, proof]) => !proof.proven)
    .map(([name]) => `verify could not prove: ${name}`)
  return {
    records: report.records,
    lost: Math.max(report.lost, own.lost, sent - report.records),
    duplicated: Math.max(report.duplicated, own.duplicated),
    reordered: Math.max(report.reordered, own.reordered),
    invented: Math.max(report.invented, own.invented),
    findings: [...report.findings.map((finding) => JSON.stringify(finding)), ...unproven, ...own.findings],
  }
}

/**
 * As `judge`, where the group was moved or its topic made anew: verify says what is left for it to say, which is that what
 * is done has its keys and dead letters; everything else goes by the logs and by what was done to them.
 */
async function judgeMoved(scene: Scene): Promise<Verdict> {
  const report = await verify(askedOf(scene))
  const own = await judgeRetold({ ...scene, events: await firstCopies(scene) })
  const { records, lost, duplicated, reordered, invented, findings } = own
  return {
    records,
    lost: Math.max(report.lost, lost),
    duplicated: Math.max(report.duplicated, duplicated),
    reordered: Math.max(report.reordered, reordered),
    invented: Math.max(report.invented, invented),
    findings: [...report.findings.map((finding) => JSON.stringify(finding)), ...findings],
  }
}

function askedOf({ kafka, database, topic, mode }: Scene) {
  return {
    kafka: { bootstrap: kafka.split(','), clientId: 'chaos-verify' },
    postgres: database,
    group: topic,
    mode,
  }
}

const state = z.object({ n: z.number(), chain: z.string() })

/** What the plan says must be there, without a look at the log: rows, chains, and the events at least once, in order. */
async function replay(scene: Scene): Promise<Omit<Verdict, 'records'>> {
  const { plan, sql, topic, sent } = scene
  const findings: string[] = []
  let [lost, duplicated, reordered, invented] = [0, 0, 0, 0]
  const chains = new Map<string, { n: number; chain: string }>()
  const expected = new Set<string>()
  const planned: number[] = []
  for (let n = 0; n < sent; n++) {
    if (plan.original(n) !== n || plan.poison(n) !== undefined) continue
    const [tenant, id] = [plan.tenant(n), plan.id(n)]
    const known = chains.get(tenant) ?? { n: 0, chain: '' }
    chains.set(tenant, { n: known.n + 1, chain: hash('sha256', known.chain + id, 'hex') })
    expected.add(`${tenant}/${id}`)
    if (n % 10 === 0) planned.push(n)
  }
  const rows = await sql<{ row: string; times: number }[]>`
    select tenant_id || '/' || message_id as row, count(*)::int as times from effects group by 1`
  for (const { row, times } of rows) {
    if (expected.delete(row)) duplicated += times - 1
    else invented += times
    if (times > 1) findings.push(`${times} rows of ${row}`)
  }
  lost += expected.size
  for (const row of [...expected].slice(0, 5)) findings.push(`no row of ${row}`)
  for (const { tenant_id: tenant, state: found } of await sql<{ tenant_id: string; state: unknown }[]>`
    select tenant_id, state from sys.actor_state where group_name = ${topic}`) {
    const { n, chain } = state.parse(found)
    const right = chains.get(tenant)
    chains.delete(tenant)
    if (right?.chain === chain) continue
    reordered++
    findings.push(`the chain of ${tenant} is over ${n} messages and differs from the plan's over ${right?.n ?? 0}`)
  }
  for (const [tenant, { n }] of chains) {
    lost += n
    findings.push(`${tenant} has no state`)
  }
  const letters = await givenUp(scene)
  for (let n = 0; n < sent; n++) {
    const poison = plan.poison(n)
    const times = letters.get(n) ?? 0
    letters.delete(n)
    if (poison !== undefined && times === 0) {
      lost++
      findings.push(`no dead letter of ${n}, which is poison (${poison})`)
    } else if (times > 1) {
      duplicated += times - 1
      findings.push(`${times} dead letters of ${n}`)
    }
  }
  for (const [n, times] of letters) {
    invented += times
    findings.push(`a dead letter of ${n === undefined ? 'a record that is no poison' : n}`)
  }
  const events = await firstCopies(scene)
  const known = new Set(planned)
  for (const n of events) if (!known.delete(n)) invented++
  if (known.size > 0) findings.push(`${known.size} events were not published`)
  lost += known.size
  const last = new Map<string, number>()
  for (const n of events) {
    const tenant = plan.tenant(n)
    if (n < (last.get(tenant) ?? -1)) {
      reordered++
      findings.push(`the event of ${n} of ${tenant} was published after that of ${last.get(tenant)}`)
    } else last.set(tenant, n)
  }
  return { lost, duplicated, reordered, invented, findings }
}

/** How often each poisoned record is a dead letter; whatever else is one is `undefined`. */
async function givenUp({ sql, topic }: Scene): Promise<Map<number | undefined, number>> {
  const times = new Map<number | undefined, number>()
  for (const { value } of await sql<{ value: Buffer | null }[]>`
    select record_value as value from sys.dead_letters where group_name = ${topic}`) {
    const n = poisonIn(value?.toString() ?? '')
    times.set(n, (times.get(n) ?? 0) + 1)
  }
  return times
}

const event = z.object({ payload: z.object({ n: z.number() }) })

/** The numbers of the published events, those of one tenant in the order of their first copies. */
async function firstCopies({ kafka, events }: Scene): Promise<readonly number[]> {
  const log = new Log({ bootstrap: kafka.split(','), clientId: 'chaos-events' }, 'chaos-events')
  try {
    const { starts, ends } = (await log.describe(events)) ?? { starts: [], ends: [] }
    const seen = new Set<number>()
    for (const [partition, end] of ends.entries()) {
      for await (const records of log.read(events, partition, starts[partition] ?? 0, end))
        for (const { value } of records)
          if (value !== null) seen.add(event.parse(JSON.parse(value.toString())).payload.n)
    }
    return [...seen]
  } finally {
    await log.close()
  }
}
