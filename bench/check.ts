import { hash } from 'node:crypto'
import { Consumer, MessagesStreamModes } from '@platformatic/kafka'
import type postgres from 'postgres'
import { z } from 'zod'
import { endsOf } from './backlog.ts'
import type { Messages } from './content.ts'
import { type Servers, withAdmin } from './servers.ts'

/** What was wrong in the end; all 0 if nothing was. */
export type Verdict = {
  /** Messages without their row (or, where an actor publishes, without their event). */
  readonly lost: number
  /** Rows beyond one a message. */
  readonly duplicated: number
  /** Rows, events or states of a tenant that are not in the order of its messages; of copies the first counts. */
  readonly reordered: number
  /** Rows that are no message's, or say something else than it did. */
  readonly altered: number
}

const nothing: Verdict = { lost: 0, duplicated: 0, reordered: 0, altered: 0 }

/** Adds up what several looks have found. */
export function together(verdicts: readonly Verdict[]): Verdict {
  return verdicts.reduce(
    (sum, one) => ({
      lost: sum.lost + one.lost,
      duplicated: sum.duplicated + one.duplicated,
      reordered: sum.reordered + one.reordered,
      altered: sum.altered + one.altered,
    }),
    nothing,
  )
}

/**
 * Reads all rows of `effects` in the order in which they were written, and compares them with the messages with the
 * numbers 0 to `count`. Nothing of the engine takes part.
 */
export async function checkRows(sql: postgres.Sql, messages: Messages, count: number): Promise<Verdict> {
  const comparison = new Comparison(messages, count)
  await eachRow(sql, (n, id, tenant) => comparison.see(n, id, tenant))
  return comparison.verdict()
}

const sent = z.object({ message_id: z.string(), tenant_id: z.string(), payload: z.object({ n: z.number() }) })

/** The same with values of messages that were sent to somebody, in the order in which they came. */
export function checkSent(values: readonly Buffer[], messages: Messages, count: number): Verdict {
  const comparison = new Comparison(messages, count)
  for (const value of values) {
    const { message_id: id, tenant_id: tenant, payload } = sent.parse(JSON.parse(value.toString()))
    comparison.see(payload.n, id, tenant)
  }
  return comparison.verdict()
}

/** What comes of the messages with the numbers 0 to `count`, one after the other. */
class Comparison {
  readonly #messages: Messages
  readonly #seen: Uint8Array
  readonly #last = new Map<string, number>()
  #duplicated = 0
  #reordered = 0
  #altered = 0

  constructor(messages: Messages, count: number) {
    this.#messages = messages
    this.#seen = new Uint8Array(count)
  }

  see(n: number, id: string, tenant: string): void {
    const messages = this.#messages
    if (
      !(n >= 0 && n < this.#seen.length) ||
      messages.original(n) !== n ||
      messages.id(n) !== id ||
      messages.tenant(n) !== tenant
    ) {
      this.#altered++
      return
    }
    if (this.#seen[n] === 1) {
      this.#duplicated++ // and nothing else: a copy always comes late
      return
    }
    this.#seen[n] = 1
    const before = this.#last.get(tenant) ?? -1
    if (n < before) this.#reordered++
    else this.#last.set(tenant, n)
  }

  verdict(): Verdict {
    let lost = 0
    for (const [n, seen] of this.#seen.entries()) if (seen === 0 && this.#messages.original(n) === n) lost++
    return { lost, duplicated: this.#duplicated, reordered: this.#reordered, altered: this.#altered }
  }
}

async function eachRow(sql: postgres.Sql, take: (n: number, id: string, tenant: string) => void): Promise<void> {
  await sql.begin(async (transaction) => {
    await transaction`set local work_mem = '512MB'`
    const stream = await transaction`copy (select n, id, tenant_id from effects order by position) to stdout`.readable()
    let rest = ''
    for await (const chunk of stream) {
      const lines = (rest + String(chunk)).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const first = line.indexOf('\t')
        const second = line.indexOf('\t', first + 1)
        take(Number(line.slice(0, first)), line.slice(first + 1, second), line.slice(second + 1))
      }
    }
  })
}

const state = z.object({ messages: z.number(), chain: z.string() })

/** Compares the states of the actor `state` with a replay of the messages: a chain over ids knows their order. */
export async function checkStates(sql: postgres.Sql, messages: Messages, count: number): Promise<Verdict> {
  const chains = new Map<string, { messages: number; chain: string }>()
  for (let n = 0; n < count; n++) {
    if (messages.original(n) !== n) continue
    const tenant = messages.tenant(n)
    const known = chains.get(tenant) ?? { messages: 0, chain: '' }
    chains.set(tenant, { messages: known.messages + 1, chain: hash('sha256', known.chain + messages.id(n), 'hex') })
  }
  const rows = await sql<{ tenant_id: string; state: unknown }[]>`select tenant_id, state from sys.actor_state`
  let [lost, duplicated, reordered, altered] = [0, 0, 0, 0]
  for (const { tenant_id: tenant, state: found } of rows) {
    const expected = chains.get(tenant)
    chains.delete(tenant)
    const parsed = state.safeParse(found)
    if (expected === undefined || !parsed.success) altered++
    else if (parsed.data.messages !== expected.messages) {
      lost += Math.max(0, expected.messages - parsed.data.messages)
      duplicated += Math.max(0, parsed.data.messages - expected.messages)
    } else if (parsed.data.chain !== expected.chain) reordered++
  }
  for (const missing of chains.values()) lost += missing.messages
  return { lost, duplicated, reordered, altered }
}

const event = z.object({ tenant_id: z.string(), payload: z.object({ n: z.number() }) })

/** Reads the events of the actor `state`: one for each tenth message, perhaps twice, first copies in order. */
export async function checkEvents(
  servers: Servers,
  topic: string,
  partitions: number,
  messages: Messages,
  count: number,
): Promise<Verdict & { readonly published: number; readonly repeated: number }> {
  const ends = await withAdmin(servers, (admin) => endsOf(admin, topic, partitions))
  const total = Number(ends.reduce((sum, end) => sum + end, 0n))
  const seen = new Uint8Array(count)
  const last = new Map<string, number>()
  let [published, repeated, reordered, altered, read] = [0, 0, 0, 0, 0]
  const consumer = new Consumer({
    clientId: 'tenantry-bench',
    groupId: `bench-check-${process.pid}-${Date.now()}`,
    bootstrapBrokers: servers.kafka.split(','),
  })
  try {
    if (total > 0) {
      const stream = await consumer.consume({
        topics: [topic],
        mode: MessagesStreamModes.EARLIEST,
        autocommit: false,
        maxWaitTime: 100,
      })
      for await (const message of stream) {
        const { tenant_id: tenant, payload } = event.parse(JSON.parse(message.value.toString()))
        const { n } = payload
        if (!(n >= 0 && n < count) || n % 10 !== 0 || messages.tenant(n) !== tenant) altered++
        else if (seen[n] === 1) repeated++
        else {
          seen[n] = 1
          published++
          const before = last.get(tenant) ?? -1
          if (n < before) reordered++
          else last.set(tenant, n)
        }
        if (++read >= total) break
      }
    }
  } finally {
    await consumer.close(true)
  }
  let lost = 0
  for (let n = 0; n < count; n += 10) if (seen[n] === 0 && messages.original(n) === n) lost++
  return { lost, duplicated: 0, reordered, altered, published, repeated }
}
