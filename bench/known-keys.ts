import postgres from 'postgres'
import { say } from '../cli/output.ts'

const sliceKeys = 1_000_000
const dayMs = 86_400_000

/** When messages that come after the keys have their time: the keys' times are spread over the half day before it. */
export const afterKeysMs = dayMs / 2

/**
 * Fills the day's part of `sys.request_keys` with keys of messages that might have been, in the order of their times, as
 * a day's load leaves them.
 */
export async function fillKeys(
  sql: postgres.Sql,
  { day, keys, tenants }: { readonly day: number; readonly keys: number; readonly tenants: number },
): Promise<void> {
  await sql`select sys.fn_add_key_day(${day})`
  for (let from = 0; from < keys; from += sliceKeys) {
    const to = Math.min(keys, from + sliceKeys)
    await sql`
      insert into sys.request_keys (message_id, tenant_id, group_name, day)
      select
        (lpad(to_hex(ms), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
        'tenant-' || n % ${tenants}::bigint,
        'bench-filled',
        ${day}::integer
      from (
        select n, md5(n::text) as hash, (${day * dayMs}::bigint + n * ${afterKeysMs - 1}::bigint / ${keys}::bigint) as ms
        from generate_series(${from}::bigint, ${to - 1}::bigint) as n
      ) as made`
    if (keys > sliceKeys) say(`  ${to.toLocaleString('en')} of ${keys.toLocaleString('en')} keys are there`)
  }
  // Not in the middle of what is measured.
  await sql`vacuum (analyze) sys.request_keys`
  await sql`checkpoint`
}

/** A transaction that sees the database as it is now, and keeps dead rows from going, until `close`. */
export async function openSnapshot(url: string): Promise<{ close(): Promise<void> }> {
  const sql = postgres(url, { max: 1, onnotice() {}, connection: { application_name: 'tenantry bench, old snapshot' } })
  const connection = await sql.reserve()
  await connection`begin isolation level repeatable read`
  await connection`select count(*) from sys.partition_progress` // the snapshot is taken by the first statement
  return {
    async close() {
      connection.release()
      await sql.end({ timeout: 5 })
    },
  }
}
