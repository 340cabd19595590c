import type { OutboxRow } from '../core/postgres/ownership.ts'
import type { AwayTopics } from './away-topics.ts'
import type { OutboxFeed } from './outbox-feed.ts'
import type { Partition } from './partition.ts'

/** One send takes this many messages at most: about 10 ms of a broker's time, and little to repeat. */
const maxMessagesPerSend = 2_000

/** A message in memory. `refusing`: Kafka will never take it, which is not recorded yet. */
export type Pending = {
  readonly feed: OutboxFeed
  readonly row: OutboxRow
  readonly bytes: number
  state: 'waiting' | 'sending' | 'delivered' | 'refusing' | 'refused'
}

/**
 * What of `all`, which stand in order, may go now, the oldest first, by the topics of its tenants. `sending` has the topics
 * of each send that is under way: one to the same topics at a time.
 */
export function nextSends(
  all: readonly Pending[],
  sending: ReadonlySet<string>,
  away: AwayTopics,
): ReadonlyMap<string, readonly Pending[]> {
  const tenants = new Tenants()
  const ready: { readonly pending: Pending; readonly tenant: Tenant }[] = []
  for (const pending of all) {
    if (pending.state !== 'waiting' && pending.state !== 'sending') continue
    const tenant = tenants.of(pending)
    if (tenant.held) continue
    tenant.held = pending.state === 'sending' || mustWait(pending.row.topic, tenant, sending, away)
    if (tenant.held) continue
    if (!tenant.topics.includes(pending.row.topic)) tenant.topics.push(pending.row.topic)
    ready.push({ pending, tenant })
  }
  const batches = new Map<string, Pending[]>()
  for (const { pending, tenant } of ready) {
    const topics = tenant.topics.length === 1 ? pending.row.topic : tenant.topics.join(' ')
    if (sending.has(topics)) continue
    const batch = batches.get(topics)
    if (batch === undefined) batches.set(topics, [pending])
    else if (batch.length < maxMessagesPerSend) batch.push(pending)
  }
  return batches
}

/** While the topic rests, or all there is to it now is on its way. A topic that is away is tried alone. */
function mustWait(topic: string, { topics }: Tenant, sending: ReadonlySet<string>, away: AwayTopics): boolean {
  const first = topics[0]
  if (first === undefined && sending.has(topic)) return true
  if (away.none) return false
  if (away.rests(topic)) return true
  return first !== undefined && first !== topic && (away.has(topic) || away.has(first))
}

/** In one look at what is pending: nothing further of it goes, and the topics of what may go. */
type Tenant = { held: boolean; readonly topics: string[] }

/** Tenants of partitions. */
export class Tenants {
  readonly #tenants = new Map<Partition, Map<string, Tenant>>()

  of({ feed: { partition }, row }: Pending): Tenant {
    let tenants = this.#tenants.get(partition)
    if (tenants === undefined) {
      tenants = new Map()
      this.#tenants.set(partition, tenants)
    }
    let tenant = tenants.get(row.tenant)
    if (tenant === undefined) {
      tenant = { held: false, topics: [] }
      tenants.set(row.tenant, tenant)
    }
    return tenant
  }
}
