import { tenantOf } from './message.ts'
import type { SimulatedDaemon } from './simulated-daemon.ts'
import { refKey } from './postgres-tables.ts'
import type { World } from './world.ts'

/** What parking takes besides the time after which it is due: the engine looks once a second or so, and then commits. */
const slackMs = 4_000

/** A partition that stands still: where, and since when. */
type Still = { readonly at: string; readonly since: number }

/**
 * Where nothing is left to commit but what waits behind a record that does not end, that record is parked in a while: the
 * watermark of a partition that has become quiet is not held by one tenant.
 */
export class QuietPartitions {
  readonly #world: World
  #still = new Map<string, Still>()

  constructor(world: World) {
    this.#world = world
  }

  /** To be called often. */
  look(): void {
    const { loop, cluster, schedule, server, chaos } = this.#world
    const { parkAfterMs, parkedMaxRecords } = schedule.options.settings
    const still = new Map<string, Still>()
    for (const daemon of this.#world.running()) {
      if (!this.#isWell(daemon)) continue
      const status = daemon.engine.status()
      if (status.parkedRecords >= parkedMaxRecords) continue
      for (const {
        group,
        topic,
        partition,
        phase,
        epoch,
        seq,
        watermark,
        position,
        uncommitted,
      } of status.partitions) {
        const topicId = cluster.topic(topic)?.id ?? ''
        const ref = { group, topic, topicId, partition }
        const last = server.tables.last(ref)
        if (phase !== 'owned' || uncommitted > 0 || position <= watermark) continue
        if (last === undefined || last.epoch !== epoch || last.seq !== seq || last.ahead.length === 0) continue
        const tenant = tenantOf(cluster.log(ref)?.entries[watermark] ?? null)
        if (tenant === null || this.#isFull(refKey(ref), tenant)) continue
        const key = `${daemon.process.name} ${refKey(ref)}`
        const at = `${epoch} ${watermark}`
        const before = this.#still.get(key)
        const since = before?.at === at ? before.since : loop.now
        still.set(key, { at, since })
        chaos.mark('a quiet partition is held')
        if (loop.now - since > parkAfterMs + slackMs)
          this.#world.violate('G5 a quiet partition is held', `${key}: ${tenant} holds ${watermark} since ${since}`)
      }
    }
    this.#still = still
  }

  #isWell({ process, draining, client, engine }: SimulatedDaemon): boolean {
    return process.state === 'running' && !draining && client.reached && engine.reasons.length === 0
  }

  #isFull(key: string, tenant: string): boolean {
    const rows = this.#world.server.tables.parked.get(key) ?? []
    const own = rows.filter((row) => row.tenant === tenant).length
    return own >= this.#world.schedule.options.settings.parkedMaxPerTenant
  }
}
