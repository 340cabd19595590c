import { setTimeout as pause } from 'node:timers/promises'
import type postgres from 'postgres'
import { createTopic, deleteTopic, deliver, publisherTo } from '../backlog.ts'
import { type Content, Messages } from '../content.ts'
import { measureDaemon, type Place } from '../measure-daemon.ts'
import { round } from '../measure.ts'
import type { Run } from '../run.ts'
import { sickMessage } from '../sick-tenant.ts'

export type ParkingOptions = {
  readonly mode: 'message-id' | 'offset'
  readonly messages: number
  readonly tenants: number
  readonly partitions: number
  /** How long each tenant's first message holds it up. */
  readonly stuckSeconds: number
}

const sliceRecords = 10_000

/**
 * Every tenant's first message fails for a while, so that all others of its tenant are parked, and then processed. How
 * long it takes until all is parked, and from when the tenants can go on until all is processed.
 */
export async function parking(place: Place, options: ParkingOptions): Promise<Run> {
  const { mode, messages: count, tenants, partitions, stuckSeconds } = options
  const content: Content = {
    kind: 'order',
    records: count,
    tenants,
    spread: 'numbered',
    ids: 'v7',
    copyEvery: 0,
    day: place.day,
  }
  const messages = new Messages(content)
  const name = `parking-${place.day}-${process.pid}-${Date.now().toString(36)}`
  const topic = await createTopic(place.servers, name, partitions)
  const publisher = publisherTo(place.servers)
  try {
    for (let n = 0; n < tenants; n += sliceRecords) {
      const length = Math.min(sliceRecords, tenants - n)
      await deliver(
        publisher,
        Array.from({ length }, (_, i) => sickMessage(topic, messages.tenant(n + i), 'failing', n + i)),
      )
    }
    for (let n = 0; n < count; n += sliceRecords) {
      const length = Math.min(sliceRecords, count - n)
      await deliver(
        publisher,
        Array.from({ length }, (_, i) => ({ topic, ...messages.message(n + i), headers: [] })),
      )
    }
    return await measureDaemon(
      { ...place, settings: [...(place.settings ?? []), `retry.delays=${stuckSeconds}s`] },
      { scenario: tenants === 1 ? 'parking, one tenant' : 'parking', actor: 'isolation', mode, messages, partitions },
      topic,
      async ({ subject: daemon, database, reach }) => {
        while (daemon.readyAt() === undefined) await Promise.race([pause(20), daemon.ended])
        const from = Date.now()
        await reach(tenants + count)
        const parkedAt = Date.now()
        const parked = await rows(database.sql)
        while ((await rows(database.sql)) > 0) await Promise.race([pause(200), daemon.ended])
        const to = Date.now()
        const [first] = await database.sql<{ at: number }[]>`
          select extract(epoch from min(failed_at))::float8 * 1000 as at from sys.dead_letters`
        return {
          messages: count,
          records: count,
          window: { from, to },
          dead_letters: 0,
          parked_rows: parked,
          parking_seconds: round((parkedAt - from) / 1_000, 2),
          feeding_seconds: round((to - Math.max(parkedAt, first?.at ?? parkedAt)) / 1_000, 2),
        }
      },
    )
  } finally {
    await publisher.stop()
    await deleteTopic(place.servers, topic).catch(() => {})
  }
}

async function rows(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*)::integer as count from sys.parked_messages`
  return row?.count ?? 0
}
