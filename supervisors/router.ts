import type { Clock } from '../core/clock.ts'
import type { RecordBatch } from '../core/kafka/source.ts'
import type { EngineMetrics } from '../core/metrics.ts'
import type { Assignments } from './assignments.ts'
import type { FeedBack } from './feed-back.ts'
import type { GroupOptions } from './group.ts'
import type { Intake } from './intake.ts'
import { Item } from './item.ts'
import type { Mailbox } from './mailbox.ts'
import type { Mailboxes } from './mailboxes.ts'
import type { Outcomes } from './outcomes.ts'
import type { Parking } from './parking.ts'
import type { Partition } from './partition.ts'
import { nobody, route, sizeOf } from './route.ts'

export type RouterSettings = { readonly maxIdLength: number }

export type RouterOptions = {
  readonly clock: Clock
  readonly metrics: EngineMetrics
  readonly settings: RouterSettings
  readonly assignments: Assignments
  readonly mailboxes: Mailboxes
  readonly intake: Intake
  readonly outcomes: Outcomes
  readonly parking: Parking
  readonly feedBack: FeedBack
}

/** Puts records in the mailboxes of their tenants. */
export class Router {
  readonly #options: RouterOptions

  constructor(options: RouterOptions) {
    this.#options = options
  }

  /** What the group's source has read. Of an earlier assignment or position nothing is taken. */
  records(group: GroupOptions, batch: RecordBatch): void {
    const { clock, metrics, settings, assignments, intake, outcomes, parking, feedBack } = this.#options
    const partition = assignments.find(group, batch)
    if (partition?.phase !== 'owned' || batch.token !== partition.token) return
    partition.end = batch.end
    const behind = !partition.caughtUp
    const cameAt = clock.monotonic()
    const routing = { tenantHeader: group.tenantHeader, maxIdLength: settings.maxIdLength }
    for (const record of batch.records) {
      if (record.offset < partition.position) continue
      const from = partition.position
      if (record.offset < partition.aheadEnd && partition.progress.has(record.offset)) {
        partition.pass(from, record.offset + 1)
        continue
      }
      partition.position = record.offset + 1
      const item = new Item(record, from, sizeOf(record), cameAt)
      partition.countOn(item)
      intake.took(item.bytes)
      const to = route(record, routing)
      if ('failure' in to) {
        outcomes.refuse(this.mailbox(partition, nobody, ''), item, to.failure)
      } else {
        const mailbox = this.mailbox(partition, to.key, to.tenant)
        parking.take(mailbox, item)
        if (mailbox.waiting === 'dependency') outcomes.dependencies.arrived(mailbox)
      }
    }
    if (batch.position > partition.position) partition.pass(partition.position, batch.position)
    if (behind && partition.caughtUp) feedBack.caughtUp(partition)
    const last = batch.records.at(-1)
    if (last !== undefined) partition.heard(last.timestamp, clock)
    metrics.recordsConsumed(group.name, batch.topic, batch.partition, batch.records.length)
  }

  /** The tenant's mailbox, warm or new. */
  mailbox(partition: Partition, key: string, tenant: string): Mailbox {
    const { mailboxes, outcomes } = this.#options
    const known = partition.mailboxes.get(key)
    if (known) {
      mailboxes.wake(known)
      return known
    }
    const mailbox = mailboxes.create(key, tenant, partition, partition.actor)
    outcomes.opened(mailbox)
    return mailbox
  }
}
