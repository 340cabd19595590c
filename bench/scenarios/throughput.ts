import { backlogOf } from '../backlog.ts'
import { commitsOf, windowAfter } from '../commits.ts'
import { type Content, Messages } from '../content.ts'
import { measureDaemon, type Place, type Task } from '../measure-daemon.ts'
import type { Run } from '../run.ts'

/** What the backlog is, and which actor works it off. */
const workloads = {
  rows: { actor: 'rows', kind: 'order', spread: 'even', copyEvery: 0, share: 1 },
  state: { actor: 'state', kind: 'order', spread: 'even', copyEvery: 0, share: 1 },
  webhooks: { actor: 'webhooks', kind: 'webhook', spread: 'even', copyEvery: 0, share: 0.1 },
  skew: { actor: 'rows', kind: 'order', spread: 'skewed', copyEvery: 0, share: 1 },
  duplicates: { actor: 'rows', kind: 'order', spread: 'even', copyEvery: 50, share: 1 },
  'duplicates-state': { actor: 'state', kind: 'order', spread: 'even', copyEvery: 50, share: 1 },
} as const

export type Workload = keyof typeof workloads

export const workloadNames: readonly Workload[] = [
  'rows',
  'state',
  'webhooks',
  'skew',
  'duplicates',
  'duplicates-state',
]

export type ThroughputOptions = {
  readonly workload: Workload
  readonly mode: 'message-id' | 'offset'
  /** Measured messages; webhooks are a tenth of it. */
  readonly messages: number
  /** Messages before these, during which the daemon warms up. */
  readonly warmUp: number
  readonly tenants: number
  readonly partitions: number
  readonly ids: 'v4' | 'v7'
}

/** Works off a backlog: the rate from the end of the warm-up to the last commit. */
export async function throughput(place: Place, options: ThroughputOptions): Promise<Run> {
  const { actor, kind, spread, copyEvery, share } = workloads[options.workload]
  const warmUp = Math.round(options.warmUp * share)
  const content: Content = {
    kind,
    records: Math.round(options.messages * share) + warmUp,
    tenants: options.tenants,
    spread,
    ids: options.ids,
    copyEvery,
    day: place.day,
  }
  const topic = await backlogOf(place.servers, content, options.partitions)
  const task: Task = {
    scenario: options.workload,
    actor,
    mode: options.mode,
    messages: new Messages(content),
    partitions: options.partitions,
  }
  return measureDaemon(place, task, topic, async ({ database, reach }) => {
    await reach(content.records)
    const window = windowAfter(await commitsOf(database.sql), warmUp)
    // A copy leaves no row: rows in the window stand for all records that came with them.
    const rows = window.rows
    const share = rows === 0 ? 0 : copyShare(task.messages, warmUp)
    return { messages: Math.round(rows * share), records: content.records, window }
  })
}

/** Records for each row, past the warm-up. */
function copyShare(messages: Messages, warmUp: number): number {
  const { records, copyEvery } = messages.content
  if (copyEvery === 0) return 1
  let originals = 0
  for (let n = warmUp; n < records; n++) if (messages.original(n) === n) originals++
  return (records - warmUp) / originals
}
