import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { produce } from '../backlog.ts'
import { type Content, Messages } from '../content.ts'
import type { Daemon } from '../daemon.ts'
import { measureDaemon, type Place } from '../measure-daemon.ts'
import { round } from '../measure.ts'
import { withOwnTopic } from '../own-topic.ts'
import type { Run } from '../run.ts'

export type TenantsOptions = {
  readonly mode: 'message-id' | 'offset'
  readonly tenants: number
  readonly partitions: number
}

/** Tenants that are there before the first look, so that all code has run. */
const firstTenants = 20_000
/** As supervisors/daemon.ts has it: past this many, mailboxes without records go. */
const warmTenants = 100_000

/** What a tenant costs in memory, once its only record is done: the heap's growth, garbage collected. Node only. */
export async function tenants(place: Place, options: TenantsOptions): Promise<Run> {
  const { mode, partitions } = options
  const records = firstTenants + options.tenants
  const content: Content = {
    kind: 'order',
    records,
    tenants: records,
    spread: 'numbered',
    ids: 'v7',
    copyEvery: 0,
    day: place.day,
  }
  const messages = new Messages(content)
  const probe = new URL('../heap-probe.ts', import.meta.url).href
  return withOwnTopic(place.servers, { name: 'tenants', day: place.day, partitions }, async ({ topic, publisher }) => {
    const flags = { runtimeFlags: ['--expose-gc', '--import', probe] }
    return measureDaemon(
      { ...place, ...flags },
      { scenario: 'tenants', actor: 'rows', mode, messages, partitions },
      topic,
      async ({ subject: { first: daemon }, reach }) => {
        await produce(publisher, topic, messages, { to: firstTenants })
        await reach(firstTenants)
        const before = await heapOf(daemon)
        const from = Date.now()
        await produce(publisher, topic, messages, { from: firstTenants })
        await reach(records)
        const to = Date.now()
        const growth = (await heapOf(daemon)) - before
        const warm = Math.min(options.tenants, warmTenants - firstTenants)
        const heap = {
          tenants: options.tenants,
          growth_bytes: growth,
          bytes_per_tenant: round(growth / options.tenants, 1),
          warm_tenants: warm,
          bytes_per_warm_tenant: round(growth / warm, 1),
        }
        return { messages: options.tenants, records, window: { from, to }, heap }
      },
    )
  })
}

/** Bytes in use in the daemon's threads, garbage collected. */
async function heapOf(daemon: Daemon): Promise<number> {
  const file = join(daemon.folder, 'heap')
  rmSync(file, { force: true })
  process.kill(daemon.pid, 'SIGUSR2')
  while (!existsSync(file)) await Promise.race([pause(50), daemon.ended])
  return Number(readFileSync(file, 'utf8'))
}
