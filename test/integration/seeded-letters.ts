import type postgres from 'postgres'
import { byteaText, textArray } from '../../core/postgres/array-text.ts'

/** A dead letter to be there, as far as a test cares. */
export type Seed = {
  readonly group?: string
  readonly topic?: string
  readonly tenant?: string
  readonly type?: string
  readonly reason?: string
  readonly errorClass?: string
  readonly errorMessage?: string
  readonly errorStack?: string
  readonly failedAt?: string
  readonly attempts?: number
  readonly published?: string
  readonly key?: Buffer | null
  readonly value?: Buffer | null
  readonly headers?: readonly (readonly [name: Buffer, value: Buffer | null])[]
}

const topicId = '0198c2f4-7a3b-7c1d-8e2f-123456789abc'

/** Writes them, one after the other, at offsets from 0 on; returns their numbers. */
export async function seedLetters(sql: postgres.Sql, seeds: readonly Seed[]): Promise<number[]> {
  const ids: number[] = []
  const [last] = await sql<{ offset: number }[]>`
    select coalesce(max(record_offset), -1)::int as offset from sys.dead_letters`
  for (const [place, seed] of seeds.entries()) {
    const { tenant = 'acme', type = 'campaign.create', headers = [], failedAt = '2026-11-02T03:04:05.678Z' } = seed
    const { key = Buffer.from(tenant), value = Buffer.from('{}') } = seed
    const names = textArray(headers.map(([name]) => byteaText(name)))
    const values = textArray(headers.map(([, header]) => byteaText(header)))
    const offset = (last?.offset ?? -1) + 1 + place
    const [row] = await sql<{ id: number }[]>`
      insert into sys.dead_letters (
        group_name, topic, topic_id, partition, record_offset, record_timestamp, record_key, record_value, header_names,
        header_values, tenant_id, actor, message_id, message_type, trace_id, reason, error_class, error_message,
        error_stack, attempts, first_failed_at, failed_at, published)
      values (
        ${seed.group ?? 'actuator'}, ${seed.topic ?? 'core.commands.v1'}, ${topicId}, 3, ${offset},
        '2026-11-02T03:04:00Z', ${key}, ${value}, ${names}::text::bytea[], ${values}::text::bytea[], ${tenant}, 'campaigns',
        ${`m-${offset}`}, ${type}, 'trace-1', ${seed.reason ?? 'handler'}, ${seed.errorClass ?? 'TypeError'},
        ${seed.errorMessage ?? 'budget is not a number'}, ${seed.errorStack ?? ''}, ${seed.attempts ?? 1}, ${failedAt},
        ${failedAt}, ${seed.published ?? 'yes'})
      returning id::int`
    if (row !== undefined) ids.push(row.id)
  }
  return ids
}
