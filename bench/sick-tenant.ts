import { setTimeout as pause } from 'node:timers/promises'
import type postgres from 'postgres'
import type { KafkaPublisher } from '../core/kafka/producer.ts'
import { deliver } from './backlog.ts'
import { orderBytes } from './content.ts'

/** What is wrong with one tenant. The actor does what the kind says. */
export type Sickness = {
  readonly name: string
  /** `blocking`: its handler blocks the thread for 300 ms; `ending`: it ends it. */
  readonly kind: 'calm' | 'failing' | 'hanging' | 'flooding' | 'blocking' | 'open-breaker' | 'ending'
  readonly actor: 'isolation' | 'calling'
  /** Keys of the daemon's configuration. */
  readonly settings?: readonly string[]
  readonly perSecond: number
  /** How long it sends, from the end of the warm-up; as long as the others when left out. */
  readonly forMs?: number
  /** So many are sick, and send in turn; one when left out. */
  readonly tenants?: number
}

export const sickTenant = 'sick'

/** What a flood may come to all the time: with the producers beside it, two cores have something left then. */
const sustainedPerSecond = 40_000

/** What one is like of which `rest` messages a second come from all others. */
export function sicknesses(rest: number): readonly Sickness[] {
  const perSecond = 10
  const briefly = 11 * rest > sustainedPerSecond
  const [actor, calling] = ['isolation', 'calling'] as const
  const tenfold = { perSecond: 10 * rest, ...(briefly && { forMs: 1_000 }) }
  const tenTimes = `ten times the rest${briefly ? ' for a second' : ''}`
  return [
    { name: 'calm', actor, kind: 'calm', perSecond },
    { name: 'failing', actor, kind: 'failing', perSecond },
    { name: 'hanging', actor, kind: 'hanging', perSecond },
    { name: 'hanging, a tenth as much as the rest', actor, kind: 'hanging', perSecond: rest / 10 },
    { name: 'blocking', actor, kind: 'blocking', perSecond: 0.2 },
    { name: 'flooding, as much as the rest', actor, kind: 'flooding', perSecond: rest },
    { name: `flooding, ${tenTimes}`, actor, kind: 'flooding', ...tenfold },
    // What of that is the load's price, whoever sends it.
    { name: `${tenTimes}, of 1,000 tenants`, actor, kind: 'flooding', ...tenfold, tenants: 1_000 },
    { name: 'calm, all of them call', actor: calling, kind: 'calm', perSecond },
    { name: 'open breaker', actor: calling, kind: 'open-breaker', perSecond, settings: ['breaker.failures=1'] },
  ]
}

const everyMs = 20
const perSend = 5_000

/** Sends the sick tenant's messages beside the measured ones. */
export class SickTenant {
  readonly #publisher: KafkaPublisher
  readonly #topic: string
  readonly #sickness: Sickness
  #sent = 0
  #stopped = false
  #running: Promise<void> = Promise.resolve()

  constructor(publisher: KafkaPublisher, topic: string, sickness: Sickness) {
    this.#publisher = publisher
    this.#topic = topic
    this.#sickness = sickness
  }

  /** Begins after `delayMs`. */
  start(delayMs: number): void {
    this.#running = this.#run(delayMs)
    // It is heard of by `stop`.
    this.#running.catch(() => {})
  }

  /** Ends, and returns how many messages were sent. */
  async stop(): Promise<number> {
    this.#stopped = true
    await this.#running
    return this.#sent
  }

  async #run(delayMs: number): Promise<void> {
    const { perSecond, forMs = Number.POSITIVE_INFINITY } = this.#sickness
    await pause(delayMs)
    const start = performance.now()
    const sends: Promise<void>[] = []
    let failed = false
    while (!this.#stopped && !failed) {
      const elapsed = Math.min(performance.now() - start, forMs)
      const due = Math.floor((elapsed * perSecond) / 1_000)
      while (this.#sent < due) {
        const count = Math.min(perSend, due - this.#sent)
        const send = deliver(
          this.#publisher,
          Array.from({ length: count }, () => this.#message()),
        )
        send.catch(() => (failed = true))
        sends.push(send)
      }
      if (elapsed >= forMs) break
      await pause(everyMs)
    }
    await Promise.all(sends)
  }

  #message() {
    const { kind, tenants } = this.#sickness
    const tenant = tenants === undefined ? sickTenant : `${sickTenant}-${this.#sent % tenants}`
    return sickMessage(this.#topic, tenant, kind, this.#sent++)
  }
}

/** The tenant's message with this number, of a kind that its actor knows. */
export function sickMessage(topic: string, tenant: string, kind: Sickness['kind'], n: number) {
  const id = `01890000-0000-7000-8000-${n.toString(16).padStart(12, '0')}`
  const text = `{"message_id":"${id}","tenant_id":"${tenant}","type":"order.${kind}","schema_version":1,"occurred_at":"2026-01-01T00:00:00Z","payload":{"n":${n},"amount":1,"note":"`
  const value = Buffer.from(`${text}${'.'.repeat(Math.max(0, orderBytes - 3 - text.length))}"}}`)
  return { topic, key: Buffer.from(tenant), value, headers: [] }
}

/** Given up, and not the sick tenant's. */
export async function deadLettersOfOthers(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::integer as count from sys.dead_letters where tenant_id <> ${sickTenant}`
  return row?.count ?? 0
}
