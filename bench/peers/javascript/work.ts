import { setTimeout as pause } from 'node:timers/promises'
import postgres from 'postgres'
import { z } from 'zod'
import type { Assignment } from '../peer.ts'
import { ByKey, type KeyedRecord } from './by-key.ts'
import { fail, type Progress } from './progress.ts'

/** What is done with records, whatever library read them. */
export type Work = {
  /** Does it with all of these, those of a key in order. A record that fails ends the process: none is committed past. */
  run(records: readonly KeyedRecord[]): Promise<void>
  end(): Promise<void>
}

const order = z.object({
  message_id: z.string(),
  tenant_id: z.string(),
  payload: z.object({ n: z.number(), amount: z.number() }),
})
type Order = z.infer<typeof order>

export function workOf({ work, postgres: url, concurrency, connections }: Assignment, progress: Progress): Work {
  const { kind, ms = 0, times = 0, url: address = '' } = work
  const end = async () => {}
  const byKey = (most: number, handle: (record: KeyedRecord) => Promise<void>) => {
    const lanes = new ByKey(most, handle, () => progress.finished(1))
    return (records: readonly KeyedRecord[]) => lanes.run(records).catch(fail)
  }
  switch (kind) {
    case 'nothing':
      return { run: async (records) => progress.finished(records.length), end }
    case 'wait':
    case 'waits':
      return {
        run: byKey(concurrency, async () => {
          for (let n = 0; n < times; n++) await pause(ms)
        }),
        end,
      }
    case 'http':
      return { run: byKey(concurrency, (record) => post(address, record)), end }
    default: {
      const sql = postgres(url, { max: connections, onnotice() {} })
      const endSql = () => sql.end({ timeout: 10 })
      if (kind === 'row') return { run: byKey(connections, (record) => append(sql, parse(record))), end: endSql }
      if (kind === 'transaction')
        return { run: byKey(connections, (record) => transact(sql, parse(record))), end: endSql }
      return {
        async run(records) {
          await batch(sql, records.map(parse)).catch(fail)
          progress.finished(records.length)
        },
        end: endSql,
      }
    }
  }
}

function parse({ value }: KeyedRecord): Order {
  return order.parse(JSON.parse(String(value)))
}

/** The row, whenever the record comes: what the consumer alone promises. */
async function append(sql: postgres.Sql, { message_id: id, tenant_id: tenant, payload }: Order): Promise<void> {
  await sql`insert into effects (id, tenant_id, n, amount) values (${id}, ${tenant}, ${payload.n}, ${payload.amount})`
}

/** The key and, where it is new, the row. */
async function transact(sql: postgres.Sql, { message_id: id, tenant_id: tenant, payload }: Order): Promise<void> {
  await sql.begin(async (transaction) => {
    const { count } = await transaction`
      insert into peer_keys (tenant, message_id) values (${tenant}, ${id}) on conflict do nothing`
    if (count === 0) return
    await transaction`
      insert into effects (id, tenant_id, n, amount) values (${id}, ${tenant}, ${payload.n}, ${payload.amount})`
  })
}

/** All keys, and the rows of those that are new, in order, by one statement: it is a transaction by itself. */
async function batch(sql: postgres.Sql, orders: readonly Order[]): Promise<void> {
  const firsts = [...new Map(orders.toReversed().map((one) => [`${one.message_id} ${one.tenant_id}`, one])).values()]
  firsts.reverse()
  const tenants = firsts.map(({ tenant_id: tenant }) => tenant)
  const ids = firsts.map(({ message_id: id }) => id)
  const numbers = firsts.map(({ payload }) => payload.n)
  const amounts = firsts.map(({ payload }) => payload.amount)
  await sql`
    with fresh as (
      insert into peer_keys (tenant, message_id)
      select * from unnest(${tenants}::text[], ${ids}::uuid[])
      on conflict do nothing
      returning tenant, message_id
    )
    insert into effects (id, tenant_id, n, amount)
    select given.id, given.tenant, given.n, given.amount
    from unnest(${ids}::uuid[], ${tenants}::text[], ${numbers}::bigint[], ${amounts}::bigint[])
      with ordinality as given (id, tenant, n, amount, at)
    join fresh on fresh.message_id = given.id and fresh.tenant = given.tenant
    order by given.at`
}

async function post(url: string, { value }: KeyedRecord): Promise<void> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: String(value),
  })
  await answer.arrayBuffer()
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`)
}
