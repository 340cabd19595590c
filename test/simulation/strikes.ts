import type { Process } from './event-loop.ts'
import { Process as SimulatedProcess } from './event-loop.ts'
import { messageIn } from './message.ts'
import { operatorReplays } from './operator-replays.ts'
import { deadLetterTopic, outputs } from './handler.ts'
import type { SimulatedDaemon } from './simulated-daemon.ts'
import { operate } from './operator.ts'
import type { Strike } from './schedule.ts'
import type { SeededRandom } from './seeded-random.ts'
import type { World } from './world.ts'

const maxDaemons = 4
/** Longer than a session, so that the group is known to be empty. */
const emptyGroupMs = 4_500

/** Does to the world what a strike says. */
export class Strikes {
  readonly #world: World
  readonly #random: SeededRandom
  #replays = 0

  constructor(world: World, random: SeededRandom) {
    this.#world = world
    this.#random = random
  }

  /** `at` is the process that passes the point at which the strike waited. */
  hit(strike: Strike, at: Process | null): void {
    const { loop } = this.#world
    const daemon = this.#target(strike, at)
    // At a point, what stops a process or a backend must do so right there; the rest comes from outside.
    switch (strike.kind) {
      case 'kill':
        this.#kill(daemon, strike.forMs)
        break
      case 'freeze':
        if (daemon) this.#freeze(daemon, strike.forMs)
        break
      case 'freeze backend':
        if (daemon) this.#freezeBackend(daemon, strike)
        break
      case 'drop connections':
        daemon?.client.cut(0)
        break
      case 'cut postgres':
        daemon?.client.cut(strike.forMs)
        break
      default:
        loop.after(0, `strike ${strike.kind}`, () => this.#outside(strike, daemon))
    }
  }

  #outside({ kind, pick, forMs }: Strike, daemon: SimulatedDaemon | undefined): void {
    const { cluster, server, groups, loop } = this.#world
    const running = this.#world.running()
    switch (kind) {
      case 'term':
        this.#term(daemon, forMs)
        break
      case 'join':
        if (running.length < maxDaemons) this.#world.startDaemon()
        break
      case 'lose worker':
        daemon?.workers.lose(Math.floor(pick * (daemon.workers.count + 1)))
        break
      case 'cut kafka':
        if (daemon) daemon.network.cutUntil = loop.now + forMs
        break
      case 'kafka away':
        cluster.goAway(forMs)
        break
      case 'output away':
        cluster.outputGoesAway(this.#random.any([...outputs, deadLetterTopic]) ?? '', forMs)
        break
      case 'expire session':
        for (const source of daemon?.sources.values() ?? [])
          groups.find(({ name }) => daemon?.sources.get(name) === source)?.expel(source.memberId)
        break
      case 'shuffle assignment':
        for (const group of groups) group.rebalance(true)
        break
      case 'trim log':
        this.#trim()
        break
      case 'recreate topic':
        this.#recreate(forMs)
        break
      case 'add partitions':
        this.#addPartition()
        break
      case 'reset offsets':
        this.#reset()
        break
      case 'postgres restart':
        server.goAway(300)
        break
      case 'postgres away':
        server.goAway(forMs)
        break
      case 'failover':
        this.#failover(pick)
        break
      case 'operator replays':
        this.#replay(pick)
        break
      case 'hold row':
        this.#holdRow(forMs)
        break
      case 'operator resets':
        this.#operatorResets()
        break
      default:
        break
    }
  }

  #target(strike: Strike, at: Process | null): SimulatedDaemon | undefined {
    const running = this.#world.running()
    const own = running.find(({ process }) => process === at)
    return own ?? running[Math.floor(strike.pick * running.length)]
  }

  #kill(daemon: SimulatedDaemon | undefined, forMs: number): void {
    if (daemon === undefined) return
    daemon.kill()
    this.#restartAfter(Math.min(forMs, 6_000))
  }

  #restartAfter(ms: number): void {
    const { loop, chaos } = this.#world
    loop.after(ms, 'restart', () => {
      if (chaos.on && this.#world.running().length < this.#world.schedule.options.daemons) this.#world.startDaemon()
    })
  }

  #freeze(daemon: SimulatedDaemon, forMs: number): void {
    const { loop } = this.#world
    daemon.freeze()
    loop.after(forMs, 'thaw', () => loop.thaw(daemon.process))
  }

  #term(daemon: SimulatedDaemon | undefined, forMs: number): void {
    if (daemon === undefined || daemon.draining || daemon.process.state !== 'running') return
    void daemon.drain().then(() => this.#restartAfter(Math.min(forMs, 3_000)))
  }

  #freezeBackend(daemon: SimulatedDaemon, { pick, forMs }: Strike): void {
    const { loop, server } = this.#world
    const own = [...server.backends].filter(({ client }) => client === daemon.process)
    const backend = own.find(({ age }) => age > 0) ?? own[Math.floor(pick * own.length)]
    backend?.freeze()
    loop.after(forMs, 'thaw backend', () => backend?.thaw())
  }

  #trim(): void {
    const { cluster } = this.#world
    const log = this.#random.any(cluster.topics().flatMap(({ logs }) => logs))
    if (log === undefined) return
    log.start = this.#random.between(log.start, log.end)
  }

  #recreate(forMs: number): void {
    const { cluster, groups, excuses } = this.#world
    const topic = this.#random.any(cluster.topics())
    // A tenant's state outlives the topic, and the old topic's last owner is not fenced from it yet.
    if (topic === undefined || this.#world.schedule.options.stateful) return
    excuses.recreated = true
    // Who deletes one topic may well delete others: then the old one's messages wait when the new one comes.
    for (const output of [...outputs, deadLetterTopic])
      if (this.#random.chance(0.5)) cluster.outputGoesAway(output, forMs)
    cluster.recreate(topic.name, this.#random.between(1, topic.logs.length))
    const kept = this.#random.chance(0.3)
    for (const group of groups) {
      if (!kept) group.forget(topic.name)
      group.rebalance(this.#random.chance(0.5))
    }
  }

  #addPartition(): void {
    const { cluster, groups, workload } = this.#world
    const topic = this.#random.any(cluster.topics())
    if (topic === undefined) return
    cluster.addPartition(topic.name)
    workload.addPartition(topic.name, topic.logs.length - 1)
    for (const group of groups) group.rebalance(false)
  }

  /** An operator stops all daemons and sets an offset with Kafka's own tool, which demands an empty group. */
  #reset(): void {
    const { loop, groups, cluster, excuses } = this.#world
    for (const daemon of this.#world.running()) daemon.kill()
    loop.after(emptyGroupMs, 'reset offsets', () => {
      for (const group of groups) {
        const topic = this.#random.any(cluster.topics())
        const partition = this.#random.below(topic?.logs.length ?? 1)
        const log = topic?.logs[partition]
        if (topic === undefined || log === undefined || group.memberCount > 0) continue
        excuses.reset = true
        group.write({ topic: topic.name, partition }, this.#random.between(0, log.end))
      }
      while (this.#world.running().length < this.#world.schedule.options.daemons) this.#world.startDaemon()
    })
  }

  /** The handler is mended, for some of its poison, and dead letters are brought back: all, or one tenant's in two. */
  #replay(pick: number): void {
    const { server, cluster, mended, chaos } = this.#world
    const odd = Math.floor(pick * 4)
    operatorReplays(server, cluster, this.#replays++, ({ ref, offset, tenant }) => {
      if (odd < 2 && tenant.length % 2 === odd) return false
      const record = cluster.topicById(ref.topicId)?.logs[ref.partition]?.entries[offset]
      if (record && offset % 3 > 0) mended.add(messageIn(record).id)
      chaos.mark('brought back')
      return true
    })
  }

  /** `tenantry offsets reset`, while daemons are at work: back to run again, or on to pass over. */
  #operatorResets(): void {
    const { cluster, groups, server } = this.#world
    const group = this.#random.any(groups)
    const topic = this.#random.any(cluster.topics())
    const partition = this.#random.below(topic?.logs.length ?? 1)
    const log = topic?.logs[partition]
    if (topic === undefined || log === undefined || group === undefined) return
    const ref = { group: group.name, topic: topic.name, topicId: topic.id, partition }
    const position = this.#random.between(log.start, log.end)
    operate(server, ref, { what: 'reset', position, dropParked: this.#random.chance(0.3) })
  }

  /** A standby is promoted that lacks the last commits. */
  #failover(pick: number): void {
    const { server, checker, excuses } = this.#world
    excuses.failover = true
    server.goAway(500)
    server.lose(Math.floor(pick * 6))
    checker.restart(server.history)
  }

  /** Somebody else's session keeps a row to itself. */
  #holdRow(forMs: number): void {
    const { loop, server } = this.#world
    const backend = server.open(new SimulatedProcess('somebody'))
    backend.send([{ point: null, locks: () => [`row ${this.#random.below(3)}`], run: () => null, answer: () => {} }])
    loop.after(Math.min(forMs, 7_000), 'row free', () => backend.end(false))
  }
}
