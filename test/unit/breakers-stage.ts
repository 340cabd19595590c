import type { BreakerChange } from '../../core/postgres/transactions.ts'
import { type BreakerNews, Breakers } from '../../supervisors/breakers.ts'
import { Item } from '../../supervisors/item.ts'
import { Mailbox } from '../../supervisors/mailbox.ts'
import { Partition } from '../../supervisors/partition.ts'
import type { SharedBreakerSettings } from '../../supervisors/shared-breaker.ts'
import { ManualClock } from '../manual-clock.ts'
import { stubSource } from './engine-ports.ts'

export const breakerSettings: SharedBreakerSettings = {
  failures: 5,
  openMs: 60_000,
  successes: 2,
  probeTimeoutMs: 10_000,
  sharedTenants: 3,
  sharedRatio: 0.5,
  sharedWindowMs: 60_000,
  releasePerSecond: 100,
}

/** Pauses while a circuit is closed. */
const pausesMs = [1_000, 2_000, 5_000]

const record = { offset: 0, timestamp: 0, key: null, value: null, headers: [] }

/**
 * Breakers with what surrounds them in the engine, as simple as can be: mailboxes that call their dependencies for each
 * record, one at a time, and try again until they succeed.
 */
export class BreakersStage {
  readonly clock: ManualClock
  readonly breakers: Breakers
  readonly news: BreakerNews[] = []
  /** Rows as commits would have left them, by partition, tenant and dependency. */
  readonly rows = new Map<string, BreakerChange>()
  readonly changes: BreakerChange[] = []
  /** Every call that went: when, and whether the dependency served it. */
  readonly calls: {
    readonly at: number
    readonly tenant: string
    readonly dependency: string
    readonly ok: boolean
  }[] = []
  readonly overdue: string[] = []
  /** Calls under way, and the most that were at once. */
  running = 0
  most = 0
  callMs = 100
  /** Whether the dependency serves the tenant now; null: it does not answer at all. */
  serves: (tenant: string, dependency: string) => boolean | null = () => true
  readonly #running = new Set<Mailbox>()
  #mailboxes = 0

  constructor(settings: Partial<SharedBreakerSettings> = {}, clock = new ManualClock()) {
    this.clock = clock
    this.breakers = new Breakers(
      this.clock,
      { ...breakerSettings, ...settings },
      {
        mayGo: (mailbox) => this.#go(mailbox),
        overdue: (mailbox) => {
          this.overdue.push(mailbox.tenant)
          this.#running.delete(mailbox)
          this.running--
          this.#go(mailbox)
        },
        record: (partition, change) => {
          this.changes.push(change)
          const key = `${partition.partition} ${change.tenant} ${change.dependency}`
          if (change.state === 'closed') this.rows.delete(key)
          else this.rows.set(key, change)
        },
        news: (news) => this.news.push(news),
        settled() {},
      },
    )
  }

  partition(number = 0, dependencies: readonly string[] = ['api']): Partition {
    const retry = { delaysMs: [], byType: new Map<string, readonly number[]>(), jitter: 0 }
    const actor = { index: 0, name: 'a', topic: 't', stateful: false, serial: false, dependencies, retry }
    const group = {
      name: 'g',
      source: stubSource(),
      actors: [actor],
      start: 'earliest',
      onForeignOffset: 'stop',
      onOutOfRange: 'stop',
      tenantHeader: null,
    } as const
    return new Partition(group, actor, { topic: 't', partition: number }, 0, 0)
  }

  /** A mailbox with so many records, which begins to work. */
  mailbox(tenant: string, partition: Partition, records = 1): Mailbox {
    const mailbox = new Mailbox(++this.#mailboxes, tenant, tenant, partition, partition.actor)
    this.send(mailbox, records)
    return mailbox
  }

  send(mailbox: Mailbox, records = 1): void {
    for (let i = 0; i < records; i++) mailbox.add(new Item(record, 0, 0))
    this.#go(mailbox)
  }

  #go(mailbox: Mailbox): void {
    if (mailbox.queuedCount === 0 || this.#running.has(mailbox)) return
    const gate = this.breakers.gate(mailbox)
    mailbox.waiting = gate === 'wait' ? 'dependency' : 'nothing'
    if (gate === 'wait') return
    this.#running.add(mailbox)
    this.most = Math.max(this.most, ++this.running)
    const failing = mailbox.actor.dependencies.find((one) => this.serves(mailbox.tenant, one) !== true)
    for (const dependency of mailbox.actor.dependencies) {
      const ok = dependency !== failing
      this.calls.push({ at: this.clock.monotonic(), tenant: mailbox.tenant, dependency, ok })
      if (!ok) break
    }
    if (failing !== undefined && this.serves(mailbox.tenant, failing) === null) return
    this.clock.after(this.callMs, () => {
      if (!this.#running.delete(mailbox)) return
      this.running--
      if (failing !== undefined) return this.#failed(mailbox, failing)
      mailbox.items.shift()
      this.breakers.handled(mailbox, mailbox.actor.dependencies)
      this.#go(mailbox)
    })
  }

  #failed(mailbox: Mailbox, dependency: string): void {
    const { dependencies } = mailbox.actor
    const served = dependencies.slice(0, dependencies.indexOf(dependency))
    const inARow = this.breakers.failed(mailbox, dependency, served)
    if (inARow === 0) this.#go(mailbox)
    else this.clock.after(pausesMs[Math.min(inARow, pausesMs.length) - 1] ?? 0, () => this.#go(mailbox))
  }
}
