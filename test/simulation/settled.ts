import type { PartitionRef } from '../../core/postgres/transactions.ts'
import { keyOf } from './kafka-group.ts'
import { refKey } from './postgres-tables.ts'
import type { Violation } from './violation.ts'
import type { World } from './world.ts'

type Wanting = Pick<Violation, 'rule' | 'detail'>

/** Whether everything has come to its end: all records done, all messages out, all offsets written, nothing held. */
export class Settled {
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  /** What is not as it should be at the end; null when all is well. */
  wanting(): Wanting | null {
    const { world } = { world: this.#world }
    if (!world.workload.done) return { rule: 'the workload has not ended', detail: '' }
    return (
      this.#partitions() ??
      this.#copies() ??
      this.#outbox() ??
      this.#retries() ??
      this.#parked() ??
      this.#breakers() ??
      this.#memory()
    )
  }

  #partitions(): Wanting | null {
    const { groups, cluster, server, checker } = this.#world
    for (const group of groups) {
      for (const name of group.topics) {
        const topic = cluster.topic(name)
        if (topic === undefined) continue
        for (const [partition, log] of topic.logs.entries()) {
          const ref: PartitionRef = { group: group.name, topic: name, topicId: topic.id, partition }
          if (this.#stopped(ref)) continue
          const last = server.tables.last(ref)
          const undone = checker.undone(ref, log.entries)
          if (undone.length > 0)
            return this.#stuck(ref, `${undone.length} records are not done, the first at ${undone[0]}`)
          if (last === undefined) return this.#stuck(ref, 'it was never begun')
          if (last.watermark !== log.end)
            return this.#stuck(ref, `the watermark is ${last.watermark}, the log ends at ${log.end}`)
          const offset = group.offsetOf(ref)
          if (offset !== last.watermark && log.end > 0 && !this.#reordered)
            return this.#stuck(ref, `Kafka's offset is ${offset}, the watermark ${last.watermark}`)
        }
      }
    }
    return null
  }

  /** Whether its owner has stopped it for a reason that no operator's word mends. Any other stop is a fault. */
  #stopped(ref: PartitionRef): boolean {
    const { excuses } = this.#world
    return this.#world.running().some(({ engine, sources }) => {
      if (!sources.get(ref.group)?.holds(ref)) return false
      const own = engine
        .status()
        .partitions.find(
          ({ group, topic, partition }) => group === ref.group && keyOf({ topic, partition }) === keyOf(ref),
        )
      if (own?.phase !== 'stopped') return false
      return excuses.failover || excuses.recreated || this.#reordered
    })
  }

  /** An offset commit that was given up may be applied after a later one: Kafka's offset then is not what was written last. */
  get #reordered(): boolean {
    return this.#world.schedule.hazards['offset delayed'] !== undefined
  }

  /** What a failover has lost runs again, if Kafka still has it: its copies may say that they are copies. */
  #copies(): Wanting | null {
    const { schedule, excuses, checker } = this.#world
    const gone = schedule.strikes.some(({ kind }) => kind === 'trim log' || kind === 'operator resets')
    if (gone || excuses.recreated || excuses.reset || this.#anyStopped()) return null
    const [first] = checker.copiesOfNothing()
    return first === undefined ? null : { rule: 'G2 a copy of what was lost', detail: first }
  }

  #outbox(): Wanting | null {
    const { server, checker, excuses } = this.#world
    for (const [key, rows] of server.tables.outbox) {
      if (rows.length > 0 && !this.#stoppedKey(key) && !this.#anyStopped())
        return { rule: 'G6 an outbox never emptied', detail: `${key}: ${rows.length} rows, ${this.#daemons()}` }
    }
    const unpublished = checker.unpublished(server.tables)
    if (unpublished.length > 0 && !excuses.failover && !this.#anyStopped()) {
      return { rule: 'G6 committed but never published', detail: `${unpublished.length}, the first ${unpublished[0]}` }
    }
    return null
  }

  /** An outcome takes its failed attempts with it. */
  #retries(): Wanting | null {
    const { server, checker, excuses } = this.#world
    for (const [key, rows] of server.tables.retries) {
      // Those of records that the log has lost go with the next takeover.
      const ended = [...rows.keys()].filter((offset) => checker.ended(key, offset))
      if (ended.length > 0 && !this.#stoppedKey(key) && !this.#anyStopped() && !excuses.recreated)
        return { rule: 'attempts are kept for ever', detail: `${key}: ${ended.length}` }
    }
    return null
  }

  #parked(): Wanting | null {
    for (const [key, rows] of this.#world.server.tables.parked)
      if (rows.length > 0 && !this.#stoppedKey(key) && !this.#anyStopped())
        return { rule: 'parked for ever', detail: `${key}: ${rows.length}, ${this.#daemons()}` }
    return null
  }

  /** Nobody waits any more, so no tenants share a breaker. */
  #breakers(): Wanting | null {
    for (const [key, rows] of this.#world.server.tables.breakers)
      for (const { tenant } of rows.values())
        if (tenant === '' && !this.#stoppedKey(key) && !this.#anyStopped() && !this.#world.excuses.recreated)
          return { rule: 'a shared breaker stays open', detail: key }
    return null
  }

  #anyStopped(): boolean {
    return this.#world
      .running()
      .some(({ engine }) => engine.status().partitions.some(({ phase }) => phase === 'stopped'))
  }

  #stoppedKey(key: string): boolean {
    const { groups, cluster } = this.#world
    return groups.some((group) =>
      group.topics.some((name) => {
        const topic = cluster.topic(name)
        return topic?.logs.some((_, partition) => {
          const ref: PartitionRef = { group: group.name, topic: name, topicId: topic.id, partition }
          return refKey(ref) === key && this.#stopped(ref)
        })
      }),
    )
  }

  #memory(): Wanting | null {
    for (const daemon of this.#world.running()) {
      const { bytes, queued, inFlight, outboxPending, partitions } = daemon.engine.status()
      if (partitions.some(({ phase }) => phase === 'stopped')) continue
      if (bytes !== 0 || queued !== 0 || inFlight !== 0 || outboxPending !== 0) {
        return {
          rule: 'G7 something is held for ever',
          detail: `${daemon.process.name}: ${bytes} bytes, ${queued} queued, ${inFlight} in flight, ${outboxPending} to publish`,
        }
      }
    }
    return null
  }

  #stuck(ref: PartitionRef, what: string): Wanting {
    return { rule: 'liveness: it never drained', detail: `${ref.group} ${keyOf(ref)}: ${what}; ${this.#daemons()}` }
  }

  #daemons(): string {
    return this.#world
      .running()
      .map(({ process, engine, draining }) => {
        const { partitions, reasons, queued, inFlight, paused, blocked } = engine.status()
        const owned = partitions.map(
          ({ topic, partition, phase, watermark, position, uncommitted, paused: p }) =>
            `${topic}-${partition} ${phase} ${watermark}/${position}${uncommitted ? ` ${uncommitted} uncommitted` : ''}${p ? ' paused' : ''}`,
        )
        return `${process.name} ${process.state}${draining ? ' draining' : ''}: [${owned.join(', ')}] queued ${queued} in flight ${inFlight} ${paused.join()} ${reasons.join('; ')} ${blocked.length > 0 ? JSON.stringify(blocked[0]) : ''}`
      })
      .join(' | ')
  }
}
