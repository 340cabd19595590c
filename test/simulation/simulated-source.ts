import type {
  KafkaRecord,
  LogRange,
  OffsetCommitReply,
  PartitionOffset,
  RecordBatch,
  Source,
  SourceListener,
  TopicDescription,
  TopicPartition,
} from '../../core/kafka/source.ts'
import type { Chaos } from './chaos.ts'
import type { EventLoop, Process } from './event-loop.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { type KafkaGroup, keyOf } from './kafka-group.ts'
import type { SeededRandom } from './seeded-random.ts'

export type SimulatedSourceOptions = {
  readonly loop: EventLoop
  readonly process: Process
  readonly cluster: KafkaCluster
  readonly group: KafkaGroup
  readonly random: SeededRandom
  readonly chaos: Chaos
  readonly releaseTimeoutMs: number
  readonly maxBatch: number
  /** This daemon's network to Kafka, apart from Kafka's own health. */
  readonly network: { cutUntil: number }
  /** The model's own contract was broken by its caller. */
  readonly breach: (what: string) => void
  /** The listener hears of an assignment; the caller hears that an offset commit was accepted; the log lacks a position. */
  readonly assigned: (at: TopicPartition) => void
  readonly proved: () => void
  readonly outOfRange: (at: TopicPartition, range: LogRange) => void
}

/** One seek's reading of a partition. A later seek starts another; what this one has on its way keeps its token. */
type Reading = { readonly token: number; position: number; topicId: string; busy: boolean; ended: boolean }

/** A partition that this source has been given. */
type Held = {
  readonly at: TopicPartition
  reading: Reading | null
  lastToken: number
  paused: boolean
  revoked: boolean
  gone: boolean
}

const heartbeatMs = 500
const requestTimeoutMs = 3_000
const metadataMs = 2_000

/** A member of a simulated group, with all that real drivers do at inconvenient moments. */
export class SimulatedSource implements Source {
  readonly lingering = 0
  readonly #options: SimulatedSourceOptions
  readonly #held = new Map<string, Held>()
  readonly #released: TopicPartition[] = []
  readonly #seen = new Map<string, TopicDescription>()
  #listener: SourceListener | null = null
  #member = 0
  #tellAt = 0
  #stopped = false
  #troubled = false

  constructor(options: SimulatedSourceOptions) {
    this.#options = options
  }

  get memberId(): number {
    return this.#member
  }

  holds(at: TopicPartition): boolean {
    return this.#held.has(keyOf(at))
  }

  async start(listener: SourceListener): Promise<void> {
    this.#listener = listener
    await this.#whenReached('join', () => {
      this.#look()
      this.#member = this.#options.group.join()
    })
    this.#beat()
    this.#lookAtTopics()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#held.clear()
    await this.#request('leave', () => this.#options.group.leave(this.#member)).catch(() => {})
  }

  seek(partition: TopicPartition, position: number, token: number): void {
    const held = this.#held.get(keyOf(partition))
    if (held === undefined || held.gone || this.#dead) return
    if (token <= held.lastToken)
      this.#options.breach(`seek of ${keyOf(partition)} with token ${token} after ${held.lastToken}`)
    if (held.reading) held.reading.ended = true
    held.lastToken = token
    held.paused = false
    held.reading = { token, position, topicId: this.#seen.get(partition.topic)?.id ?? '', busy: false, ended: false }
    this.#fetch(held)
  }

  pause(partitions: readonly TopicPartition[]): void {
    if (this.#dead) return
    for (const at of partitions) {
      const held = this.#held.get(keyOf(at))
      if (held) held.paused = true
    }
  }

  resume(partitions: readonly TopicPartition[]): void {
    if (this.#dead) return
    for (const at of partitions) {
      const held = this.#held.get(keyOf(at))
      if (held === undefined) continue
      held.paused = false
      this.#fetch(held)
    }
  }

  release(partitions: readonly TopicPartition[]): void {
    if (this.#dead) return
    for (const at of partitions) {
      if (!this.#held.get(keyOf(at))?.revoked) continue
      this.#letGo(at)
      this.#options.chaos.at('released', this.#options.process)
    }
  }

  async commit(offsets: readonly PartitionOffset[]): Promise<OffsetCommitReply> {
    const { chaos, group, process, loop, random } = this.#options
    chaos.at('offsets sent', process)
    const member = this.#member
    try {
      const reply = await this.#request('offset commit', (): OffsetCommitReply => {
        if (chaos.happens('offset refused')) return 'not-member'
        if (chaos.happens('offset delayed')) {
          loop.after(random.delay(500), 'late offset commit', () => group.commit(member, offsets))
          return 'unavailable'
        }
        const answer = group.commit(member, offsets)
        if (answer === 'committed') chaos.at('offsets written', process)
        return chaos.happens('offset answer lost') ? 'unavailable' : answer
      })
      if (reply === 'committed' && offsets.length > 0) this.#options.proved()
      return reply
    } catch {
      return 'unavailable'
    }
  }

  committed(partitions: readonly TopicPartition[]): Promise<readonly PartitionOffset[]> {
    const { group, chaos } = this.#options
    return this.#request('offset fetch', () =>
      partitions.flatMap(({ topic, partition }) => {
        const at = { topic, partition }
        const offset = chaos.happens('offset read stale') ? group.staleOffsetOf(at) : group.offsetOf(at)
        return offset === undefined ? [] : [{ topic, partition, offset }]
      }),
    )
  }

  range(partitions: readonly TopicPartition[]): Promise<readonly LogRange[]> {
    return this.#request('range', () => partitions.flatMap((at) => this.#options.cluster.range(at)))
  }

  offsetsAt(partitions: readonly TopicPartition[], timestamp: number): Promise<readonly PartitionOffset[]> {
    return this.#request('offsets at', () => partitions.flatMap((at) => this.#options.cluster.offsetAt(at, timestamp)))
  }

  describe(topic: string): Promise<TopicDescription | undefined> {
    return this.#request('describe', () => this.#options.cluster.describe(topic))
  }

  clusterId(): Promise<string> {
    return this.#request('cluster id', () => this.#options.cluster.id)
  }

  get #dead(): boolean {
    return this.#options.process.state === 'dead' || this.#stopped
  }

  get #reached(): boolean {
    const { loop, cluster, network } = this.#options
    return loop.now >= network.cutUntil && !cluster.away
  }

  /** A request and its answer, each some time on its way; rejects when nobody has answered for a while. */
  #request<T>(label: string, serve: () => T): Promise<T> {
    const { loop, process, random, chaos } = this.#options
    const asked = loop.now
    return new Promise((resolve, reject) => {
      if (process.state === 'dead') return
      const attempt = () => {
        if (!this.#reached || chaos.happens('request fails')) {
          if (loop.now - asked > requestTimeoutMs)
            loop.after(1, label, () => reject(new Error(`Kafka does not answer (${label})`)), process)
          else loop.after(400, label, attempt)
          return
        }
        const answer = serve()
        loop.after(random.delay(3), label, () => resolve(answer), process)
      }
      loop.after(random.delay(3), label, attempt)
    })
  }

  /** The same, without giving up. */
  async #whenReached(label: string, serve: () => void): Promise<void> {
    for (;;) {
      try {
        return await this.#request(label, serve)
      } catch (thrown) {
        this.#trouble(thrown)
      }
    }
  }

  #trouble(thrown: unknown): void {
    if (this.#troubled) return
    this.#troubled = true
    this.#tell('troubled', (listener) =>
      listener.troubled(thrown instanceof Error ? thrown : new Error('Kafka is away')),
    )
  }

  /** Events reach the listener from a loop of the source's own, one after the other. */
  #tell(label: string, event: (listener: SourceListener) => void): void {
    const { loop, process, random } = this.#options
    this.#tellAt = Math.max(this.#tellAt, loop.now + random.delay(2))
    loop.after(
      this.#tellAt - loop.now,
      label,
      () => {
        if (this.#listener && !this.#stopped) event(this.#listener)
      },
      process,
    )
  }

  // Membership

  #beat(): void {
    const { loop, process } = this.#options
    loop.after(
      heartbeatMs,
      'heartbeat',
      () => {
        if (this.#stopped) return
        this.#heartbeat()
        this.#beat()
      },
      process,
    )
  }

  #heartbeat(): void {
    if (this.#member === 0) return
    if (!this.#reached) {
      this.#trouble(new Error('Kafka is away'))
      return
    }
    if (this.#troubled) {
      this.#troubled = false
      this.#tell('recovered', (listener) => listener.recovered())
    }
    const instructions = this.#options.group.heartbeat(this.#member, this.#released.splice(0))
    if (instructions.kind === 'fenced') this.#fenced()
    else {
      if (instructions.revoke.length > 0) this.#revoke(instructions.revoke)
      if (instructions.assign.length > 0) this.#assign(instructions.assign)
    }
  }

  #assign(partitions: readonly TopicPartition[]): void {
    this.#tell('assigned', (listener) => {
      const { chaos, process } = this.#options
      for (const at of partitions) {
        const known = this.#held.get(keyOf(at))
        if (known) this.#end(known)
        this.#held.set(keyOf(at), { at, reading: null, lastToken: 0, paused: false, revoked: false, gone: false })
      }
      for (const at of partitions) this.#options.assigned(at)
      chaos.at('assigned', process)
      listener.assigned(partitions)
    })
  }

  #revoke(partitions: readonly TopicPartition[]): void {
    const { loop, process, chaos, releaseTimeoutMs } = this.#options
    this.#tell('revoked', (listener) => {
      for (const at of partitions) {
        const held = this.#held.get(keyOf(at))
        if (held) held.revoked = true
        else this.#released.push(at)
      }
      chaos.at('revoke told', process)
      listener.revoked(partitions)
      const held = partitions.map((at) => this.#held.get(keyOf(at)))
      loop.after(
        releaseTimeoutMs,
        'release timeout',
        () => {
          for (const one of held) if (one && !one.gone && one.revoked) this.#letGo(one.at)
        },
        process,
      )
    })
  }

  /** The coordinator does not know us any more: what we held has gone, and when that was told we join anew. */
  #fenced(): void {
    const { chaos, loop, process, random } = this.#options
    const lost = [...this.#held.values()]
    this.#member = 0
    const late = chaos.happens('lost told late') ? random.delay(4_000) : 0
    const asRevoked = chaos.happens('lost told as revoked')
    const tell = () => {
      const partitions = lost.filter((held) => !held.gone).map(({ at }) => at)
      if (partitions.length === 0) this.#rejoin()
      else if (asRevoked) this.#revoke(partitions)
      else this.#lose(partitions)
      if (partitions.length > 0) this.#rejoinWithout(lost)
    }
    loop.after(late, 'lost', tell, process)
  }

  #lose(partitions: readonly TopicPartition[]): void {
    this.#tell('lost', (listener) => {
      for (const at of partitions) {
        const held = this.#held.get(keyOf(at))
        if (held) this.#end(held)
        this.#held.delete(keyOf(at))
      }
      this.#options.chaos.at('lost told', this.#options.process)
      listener.lost(partitions)
    })
  }

  #rejoinWithout(lost: readonly Held[]): void {
    const { loop, process } = this.#options
    loop.after(
      20,
      'rejoin',
      () => {
        if (lost.every(({ gone }) => gone)) this.#rejoin()
        else this.#rejoinWithout(lost)
      },
      process,
    )
  }

  #rejoin(): void {
    void this.#whenReached('rejoin', () => {
      this.#released.length = 0
      this.#member = this.#options.group.join()
    })
  }

  #letGo(at: TopicPartition): void {
    const held = this.#held.get(keyOf(at))
    if (held === undefined) return
    this.#end(held)
    this.#held.delete(keyOf(at))
    this.#released.push(at)
  }

  #end(held: Held): void {
    held.gone = true
    if (held.reading) held.reading.ended = true
  }

  #lookAtTopics(): void {
    const { loop, process, random } = this.#options
    loop.after(
      metadataMs * (0.5 + random.next()),
      'metadata',
      () => {
        if (this.#stopped) return
        if (this.#reached) this.#look()
        this.#lookAtTopics()
      },
      process,
    )
  }

  /** Fetches are by topic id: until the source has looked, it asks for the old one and gets nothing. */
  #look(): void {
    const { cluster, group } = this.#options
    for (const name of group.topics) {
      const now = cluster.describe(name)
      const before = this.#seen.get(name)
      if (now === undefined) continue
      this.#seen.set(name, now)
      if (before && (before.id !== now.id || before.partitions !== now.partitions)) {
        this.#tell('topic changed', (listener) => {
          listener.topicChanged(now)
          // A position that was sought in the new topic before this source knew of it.
          for (const { at, reading } of this.#held.values()) if (at.topic === name && reading) reading.topicId = now.id
        })
      }
    }
  }

  // Records

  #fetch(held: Held): void {
    const { reading } = held
    if (reading === null || reading.busy || reading.ended || held.paused || held.revoked) return
    const { loop, process, random } = this.#options
    reading.busy = true
    loop.after(random.delay(8), 'fetch', () => this.#read(held, reading), process)
  }

  #read(held: Held, reading: Reading): void {
    const { loop, process, cluster, random } = this.#options
    const topic = cluster.topic(held.at.topic)
    const log = topic?.logs[held.at.partition]
    if (reading.ended) return
    if (!this.#reached || log === undefined || topic?.id !== reading.topicId) {
      loop.after(500, 'fetch', () => this.#read(held, reading), process)
      return
    }
    reading.busy = false
    if (held.paused || held.revoked) return
    if (reading.position < log.start || reading.position > log.entries.length) {
      const { at } = held
      const range: LogRange = { ...at, start: log.start, end: log.end }
      reading.ended = true
      this.#tell('out of range', (listener) => {
        if (held.gone || held.reading !== reading) return
        this.#options.outOfRange(at, range)
        listener.outOfRange(at, reading.position, range)
      })
      return
    }
    if (reading.position >= log.end) {
      reading.busy = true
      log.waiters.push(() => {
        reading.busy = false
        if (process.state !== 'dead') this.#fetch(held)
      })
      return
    }
    reading.busy = true
    const batch = this.#batch(held, reading, log.entries, log.end)
    loop.after(random.delay(4), 'batch', () => this.#deliver(held, reading, batch), process)
  }

  #batch(held: Held, reading: Reading, entries: readonly (KafkaRecord | null)[], end: number): RecordBatch {
    const { random, maxBatch } = this.#options
    const limit = random.between(1, maxBatch)
    const records: KafkaRecord[] = []
    let position = reading.position
    while (position < end && records.length < limit) {
      const entry = entries[position]
      if (entry) records.push(entry)
      position++
    }
    // The holes behind the last record may be told now or with the next batch.
    while (position < end && entries[position] === null && random.chance(0.5)) position++
    return {
      topic: held.at.topic,
      partition: held.at.partition,
      token: reading.token,
      records,
      position,
      end: random.chance(0.9) ? end : -1,
    }
  }

  #deliver(held: Held, reading: Reading, batch: RecordBatch): void {
    const { chaos, process } = this.#options
    reading.busy = false
    const stale = reading.ended || held.gone || held.revoked
    if (this.#stopped || (stale && !chaos.happens('late batch'))) return
    if (!stale) reading.position = batch.position
    chaos.at('batch delivered', process)
    this.#listener?.records([batch])
    if (!stale) this.#fetch(held)
  }
}
