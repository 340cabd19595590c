import type { KafkaCluster, Topic } from './kafka-cluster.ts'
import type { EventLoop } from './event-loop.ts'
import { type Kind, type Message, recordOf } from './message.ts'
import type { Options } from './schedule.ts'
import type { SeededRandom } from './seeded-random.ts'

/** Tenants that look alike, are long, or are not what one thinks. */
const oddTenants = ['10', 'constructor', '__proto__', ' a', 'a ', '\u00e9', 'e\u0301', '\u{1f600}']

type Tenant = {
  readonly name: string
  readonly key: Buffer
  readonly partition: number
  readonly sent: Message[]
  readonly places: Map<string, number>
}

/** The producers: what they send is drawn before a fault can change it. */
export class Workload {
  readonly #options: Options
  readonly #cluster: KafkaCluster
  readonly #loop: EventLoop
  readonly #random: SeededRandom
  readonly #tenants: Tenant[] = []
  #unsettled = 0
  #made = 0
  #left: number

  constructor(options: { options: Options; cluster: KafkaCluster; loop: EventLoop; random: SeededRandom }) {
    this.#options = options.options
    this.#cluster = options.cluster
    this.#loop = options.loop
    this.#random = options.random
    this.#left = this.#options.messages
    for (let i = 0; i < this.#options.tenants; i++)
      this.#addTenant(oddTenants[i] ?? `tenant-${i}`, i % this.#options.partitions)
  }

  /** Nothing more will be appended. */
  get done(): boolean {
    return this.#left === 0 && this.#unsettled === 0
  }

  /** Appends the backlog now and the rest over `activeMs`. */
  start(): void {
    const { backlog, activeMs } = this.#options
    const first = Math.floor(this.#left * backlog)
    for (let i = 0; i < first; i++) this.#produce()
    for (const topic of this.#cluster.topics()) for (const log of topic.logs) log.settle()
    const rest = this.#left
    for (let i = 0; i < rest; i++)
      this.#loop.after(this.#random.next() * activeMs * 0.9, 'produce', () => this.#produceLater())
  }

  /** A partition was added: only tenants that nobody has seen go there, as its producers keep each tenant in its place. */
  addPartition(topic: string, partition: number): void {
    for (const name of [`late-${topic}-${partition}`, `later-${topic}-${partition}`]) this.#addTenant(name, partition)
  }

  #addTenant(name: string, partition: number): void {
    this.#tenants.push({ name, key: Buffer.from(name), partition, sent: [], places: new Map() })
  }

  #produceLater(): void {
    const log = this.#produce()
    if (log === undefined) return
    if (this.#random.chance(0.02)) {
      // An open transaction: nothing from here on may be read until it ends.
      this.#unsettled++
      this.#loop.after(this.#random.delay(800), 'transaction ends', () => {
        this.#unsettled--
        log.settle()
      })
    } else {
      log.settle()
    }
  }

  #produce(): Topic['logs'][number] | undefined {
    const random = this.#random
    const { giant, holes } = this.#options
    this.#left--
    const topic = random.any(this.#cluster.topics())
    const tenant = giant && random.chance(0.5) ? this.#tenants[0] : random.any(this.#tenants)
    if (topic === undefined || tenant === undefined) return undefined
    // A tenant stays in its partition of a topic, whatever is added later.
    const place = tenant.places.get(topic.name) ?? tenant.partition % topic.logs.length
    tenant.places.set(topic.name, place)
    const log = topic.logs[place]
    if (log === undefined) return undefined
    while (random.chance(holes)) log.append(null)
    const timestamp = 1_800_000_000_000 + Math.floor(this.#loop.now)
    log.append(recordOf(log.entries.length, timestamp, this.#keyOf(tenant), this.#message(tenant)))
    while (random.chance(holes)) log.append(null)
    return log
  }

  #keyOf(tenant: Tenant): Buffer | null {
    const random = this.#random
    if (!random.chance(0.01)) return tenant.key
    return random.chance(0.5) ? null : Buffer.from([0xff, 0xfe])
  }

  #message(tenant: Tenant): Message {
    const random = this.#random
    const { duplicates } = this.#options
    if (random.chance(duplicates)) {
      const copy = random.chance(0.5) ? tenant.sent.at(-1) : random.any(tenant.sent)
      // The producer of what was bad mends some of it, and sends it again.
      if (copy) return copy.kind === 'bad' && copy.id < '8' ? { ...copy, kind: 'good' } : copy
    }
    const message = this.#fresh()
    // One of it is enough: a second in a row is an operator's business.
    if (this.#made++ === this.#options.endsAll) return { ...message, kind: 'ends all' }
    tenant.sent.push(message)
    return message
  }

  #fresh(): Message {
    const random = this.#random
    const { poison, badEffects, killers, publishes, hotRows } = this.#options
    const kind: Kind = random.chance(killers)
      ? random.pick(['kills', 'kills twice', 'blocks'])
      : random.chance(poison)
        ? random.pick(['poison', 'broken', 'bad'])
        : random.chance(badEffects)
          ? random.pick(['bad effect', 'bad commit'])
          : random.chance(publishes * 0.05)
            ? 'refused'
            : 'good'
    return {
      id: random.uuid(),
      kind,
      publishes: kind === 'refused' ? 1 : random.chance(publishes) ? random.between(1, 3) : 0,
      row: hotRows > 0 && random.chance(0.1) ? random.below(hotRows) : -1,
    }
  }
}
