import { redactText } from '../core/redact.ts'
import type { StuckPartition, StuckQuery, StuckReport, StuckTenant } from '../core/stuck-report.ts'
import type { Item } from './item.ts'
import type { Mailbox } from './mailbox.ts'
import { Most } from './most.ts'
import type { Partition } from './partition.ts'
import type { Troubles } from './readiness.ts'
import { waitsFor } from './waits-for.ts'

export type StuckFacts = {
  readonly partitions: Iterable<Partition>
  readonly mailboxes: Iterable<Mailbox>
  readonly troubles: Troubles
  /** Why the daemon is not ready. */
  readonly reasons: readonly string[]
  /** Why intake is paused for all partitions. */
  readonly paused: readonly string[]
  /** Groups that are paused by what they have published, and what that waits for. */
  readonly full: ReadonlyMap<string, string>
  /** The number of the worker that runs by themselves those that may have ended another. */
  readonly extraWorker: number
}

/** The clock's two times, read together. */
export type Moment = { readonly now: number; readonly monotonic: number }

/** What a pass over the mailboxes finds of a partition. */
type Found = {
  /** Its oldest record that progress has not as done. */
  holder: { readonly mailbox: Mailbox; readonly item: Item } | null
  /** The largest of the mailboxes for which it is paused. */
  full: Mailbox | null
}

/** Which tenants and partitions do not go on, and what each waits for: one pass over all mailboxes, nothing is changed. */
export function stuckOf(facts: StuckFacts, query: StuckQuery, at: Moment): StuckReport {
  const tenants = new Most<Mailbox>(query.limit)
  const found = new Map<Partition, Found>()
  for (const mailbox of facts.mailboxes) {
    const { items, parked, partition } = mailbox
    if (items.length === 0 && parked === null) continue
    if (query.group !== undefined && query.group !== partition.group.name) continue
    look(found, mailbox)
    const stuckForMs = stuckFor(mailbox, at)
    if (query.tenant === undefined ? stuckForMs > query.longerThanMs : mailbox.tenant === query.tenant)
      tenants.offer(stuckForMs, mailbox)
  }
  const partitions = new Most<StuckPartition>(query.limit)
  const named = new Set(tenants.take().map(({ partition }) => partition))
  let assigned = 0
  for (const partition of facts.partitions) {
    assigned++
    if (query.group !== undefined && query.group !== partition.group.name) continue
    if (query.tenant !== undefined && !named.has(partition)) continue
    const waitsFor = facts.full.get(partition.group.name)
    const pauses = waitsFor === undefined ? facts.paused : [...facts.paused, `${outboxFull}: ${waitsFor}`]
    const told = partitionOf(partition, found.get(partition), pauses, at)
    const still = partition.position > partition.progress.watermark && told.forMs > query.longerThanMs
    if (partition.phase !== 'owned' || partition.paused || still) partitions.offer(told.forMs, told)
  }
  const listed = tenants.take().map((mailbox) => tenantOf(mailbox, facts, at))
  const listedPartitions = partitions.take()
  return {
    at: new Date(at.now).toISOString(),
    reasons: facts.reasons.map(redactText),
    longerThanMs: query.tenant === undefined ? query.longerThanMs : 0,
    tenants: listed,
    moreTenants: tenants.count - listed.length,
    partitions: listedPartitions,
    morePartitions: partitions.count - listedPartitions.length,
    assigned,
  }
}

function tenantOf(mailbox: Mailbox, { troubles, extraWorker }: StuckFacts, at: Moment): StuckTenant {
  const { partition, tenant, parked, next, lastFailure } = mailbox
  const oldest = oldestOf(mailbox)
  const { what, reason, until, since } = waitsFor(mailbox, troubles)
  const worker = mailbox.open || mailbox.inFlightCount > 0 || mailbox.ready ? mailbox.worker : null
  // An owned partition's reason says why all of it runs so.
  const aloneFor = partition.reason || 'it may have ended a worker thread, and runs by itself'
  const alone = worker === extraWorker ? aloneFor : ''
  const attempts = (mailbox.oldestInFlight ?? next)?.attempts ?? 0
  return {
    ...partition.facts,
    tenant,
    stuckForMs: whole(stuckFor(mailbox, at)),
    waitsFor: what,
    reason: redactText(reason === '' ? alone : reason),
    until: until === undefined ? null : new Date(until).toISOString(),
    forMs: since === undefined ? null : whole(at.monotonic - since),
    worker,
    oldest:
      oldest === null
        ? null
        : {
            offset: oldest.record.offset,
            writtenForMs: oldest.record.timestamp > 0 ? whole(at.now - oldest.record.timestamp) : null,
            hereForMs: whole(at.monotonic - oldest.cameAt),
          },
    attempts,
    // What was tried again since and has ended well says nothing any more.
    lastError: lastFailure !== null && lastFailure.offset >= (oldest?.record.offset ?? 0) ? lastFailure.shown : null,
    queued: mailbox.queuedCount + (parked?.arrivals.length ?? 0),
    inFlight: mailbox.inFlightCount,
    uncommitted: mailbox.decidedCount,
    parked: rowsOf(mailbox),
  }
}

function partitionOf(
  partition: Partition,
  found: Found | undefined,
  pausedWithOthers: readonly string[],
  { monotonic }: Moment,
): StuckPartition {
  const { phase, paused, progress, position, end, assignedAt, advancedAt } = partition
  const holder = found?.holder
  // A partition without records for an hour does not wait for as long when one has just come.
  const since = phase === 'claiming' ? assignedAt : Math.max(advancedAt, holder?.item.cameAt ?? advancedAt)
  return {
    ...partition.facts,
    phase,
    paused,
    reason: redactText(
      partition.reason === '' && paused ? pauseReason(pausedWithOthers, found?.full) : partition.reason,
    ),
    watermark: progress.watermark,
    position,
    end,
    forMs: whole(monotonic - since),
    holder: holder
      ? {
          tenant: holder.mailbox.tenant,
          offset: holder.item.record.offset,
          hereForMs: whole(monotonic - holder.item.cameAt),
        }
      : null,
  }
}

function pauseReason(withOthers: readonly string[], full: Mailbox | null | undefined): string {
  if (withOthers.length > 0) return withOthers.map((reason) => pausesAll[reason] ?? reason).join(', ')
  if (!full) return ''
  const why = full.stuck
    ? 'the space for parked records is used up (parking.maxPerTenant, parking.maxRecords)'
    : full.partition.live
      ? 'it is parked if that lasts and there is space (parking.maxPerTenant, parking.maxRecords)'
      : 'the partition is behind anyway'
  return `tenant ${full.tenant} has more waiting than its share (backpressure.mailboxRecords), and ${why}`
}

const pausesAll: Readonly<Record<string, string>> = {
  budget: 'memory is used up (backpressure.budgetBytes)',
  drain: 'the daemon drains',
}

const outboxFull = 'the outbox of its group is full (backpressure.outboxRows) until Kafka takes what waits'

function look(found: Map<Partition, Found>, mailbox: Mailbox): void {
  const { partition } = mailbox
  let known = found.get(partition)
  if (known === undefined) {
    known = { holder: null, full: null }
    found.set(partition, known)
  }
  if (mailbox.full && mailbox.bytes >= (known.full?.bytes ?? 0)) known.full = mailbox
  const before = known.holder?.item.record.offset ?? Number.POSITIVE_INFINITY
  const item = undoneBefore(mailbox, before)
  if (item !== undefined) known.holder = { mailbox, item }
}

/** Its oldest record that progress has not as done, where that lies below the offset. */
function undoneBefore({ items, parked, partition }: Mailbox, before: number): Item | undefined {
  let oldest = before
  let found: Item | undefined
  /** Whether to look no further. */
  const take = (item: Item | undefined): boolean => {
    if (item === undefined || item.record.offset >= oldest) return true
    // Offsets of an earlier topic say nothing of this one's progress, nor do they hold it.
    if (item.row !== null && item.row.topicId !== partition.topicId) return false
    if (partition.progress.has(item.record.offset)) return false
    oldest = item.record.offset
    found = item
    return true
  }
  for (let i = 0; i < items.length; i++) if (take(items.at(i))) break
  if (parked === null) return found
  for (const item of parked.leaving) if (take(item)) break
  take(parked.arrivals.at(0))
  return found
}

/** How long its oldest unfinished record has waited, also at the owners before this one, as far as they wrote that down. */
function stuckFor(mailbox: Mailbox, { now, monotonic }: Moment): number {
  const oldest = oldestOf(mailbox)
  if (oldest === null) return monotonic - (mailbox.parked?.since ?? monotonic)
  return Math.max(monotonic - oldest.waitsSince, oldest.firstFailedAt > 0 ? now - oldest.firstFailedAt : 0)
}

/** Its records that are in PostgreSQL, those among them that are in memory as well, and what is on its way there. */
function rowsOf({ items, parked }: Mailbox): number {
  let rows = parked === null ? 0 : parked.rows + parked.leaving.size
  for (let i = 0; i < items.length; i++) if (items.at(i)?.row) rows++
  return rows
}

/** Its oldest record in memory. */
function oldestOf({ items, parked }: Mailbox): Item | null {
  const first = items.at(0)
  if (first !== undefined || parked === null || parked.rows > 0) return first ?? null
  for (const item of parked.leaving) return item
  return parked.arrivals.at(0) ?? null
}

function whole(ms: number): number {
  return Math.max(0, Math.round(ms))
}
