import { setTimeout as pause } from 'node:timers/promises'
import type postgres from 'postgres'
import { deliver, produce } from '../backlog.ts'
import { type Content, Messages } from '../content.ts'
import { measureDaemon, type Place } from '../measure-daemon.ts'
import { round } from '../measure.ts'
import { withOwnTopic } from '../own-topic.ts'
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
  return withOwnTopic(place.servers, { name: 'parking', day: place.day, partitions }, async ({ topic, publisher }) => {
    for (let n = 0; n < tenants; n += sliceRecords) {
      const length = Math.min(sliceRecords, tenants - n)
      await deliver(
        publisher,
        Array.from({ length }, (_, i) => sickMessage(topic, messages.tenant(n + i), 'failing', n + i)),
      )
    }
    await produce(publisher, topic, messages)
    return measureDaemon(
      { ...place, settings: [...(place.settings ?? []), `retry.delays=${stuckSeconds}s`] },
      { scenario: tenants === 1 ? 'parking, one tenant' : 'parking', actor: 'isolation', mode, messages, partitions },
      topic,
      async ({ subject: crew, database, reach }) => {
        await crew.ready(crew.first)
        const from = Date.now()
        await reach(count)
        const parkedAt = Date.now()
        const parked = await rows(database.sql)
        while ((await rows(database.sql)) > 0) await crew.while(pause(200))
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
  })
}

async function rows(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*)::integer as count from sys.parked_messages`
  return row?.count ?? 0
}
