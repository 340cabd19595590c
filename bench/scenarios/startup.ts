import { backlogOf } from '../backlog.ts'
import { commitsOf } from '../commits.ts'
import { type Content, Messages } from '../content.ts'
import { measureDaemon, type Place } from '../measure-daemon.ts'
import type { Run } from '../run.ts'

export type StartupOptions = {
  readonly mode: 'message-id' | 'offset'
  readonly messages: number
  readonly tenants: number
  readonly partitions: number
  readonly ids: 'v4' | 'v7'
}

/** How long it takes from starting the process to its first commit of a message, with a backlog there. */
export async function startup(place: Place, options: StartupOptions): Promise<Run> {
  const { mode, messages: records, tenants, partitions, ids } = options
  const content: Content = { kind: 'order', records, tenants, spread: 'even', ids, copyEvery: 0, day: place.day }
  const topic = await backlogOf(place.servers, content, partitions)
  const task = { scenario: 'startup', actor: 'rows', mode, messages: new Messages(content), partitions } as const
  return measureDaemon(place, task, topic, async ({ subject: daemon, database, reach }) => {
    await reach(records)
    const commits = await commitsOf(database.sql)
    const first = commits[0]?.at ?? Number.NaN
    const window = { from: daemon.startedAt, to: commits.at(-1)?.at ?? first }
    return { messages: records, records, window, start_ms: Math.round(first - daemon.startedAt) }
  })
}
