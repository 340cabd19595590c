import type { EngineSettings } from '../../supervisors/engine.ts'
import type { GroupOptions } from '../../supervisors/group.ts'
import { deadLetterTopic } from './handler.ts'
import { SeededRandom } from './seeded-random.ts'

/** Places in the run of things where a fault may strike; counted, so that a fault can wait for the nth. */
const points = [
  'assigned',
  'revoke told',
  'released',
  'lost told',
  'batch delivered',
  'dispatched',
  'decided',
  'commit sent',
  'locked',
  'progress',
  'keys',
  'effects',
  'before commit',
  'committed',
  'commit answered',
  'settle',
  'resolve sent',
  'take over sent',
  'raised',
  'taken over',
  'states asked',
  'parked asked',
  'noted alone',
  'outbox asked',
  'outbox sent',
  'published',
  'offsets sent',
  'offsets written',
  'drain',
] as const
export type Point = (typeof points)[number]

/** Faults that strike once, at a time or at a point. */
const strikes = [
  'kill',
  'freeze',
  'term',
  'join',
  'lose worker',
  'cut kafka',
  'kafka away',
  'output away',
  'expire session',
  'shuffle assignment',
  'trim log',
  'recreate topic',
  'add partitions',
  'reset offsets',
  'drop connections',
  'cut postgres',
  'postgres restart',
  'postgres away',
  'failover',
  'freeze backend',
  'hold row',
  'operator resets',
  'operator replays',
] as const
export type StrikeKind = (typeof strikes)[number]

export type Strike = {
  readonly kind: StrikeKind
  /** Milliseconds after the start, or the nth passing of a point. */
  readonly at: number | { readonly point: Point; readonly nth: number }
  /** In [0, 1): picks the target where the point does not. */
  readonly pick: number
  readonly forMs: number
}

/** Faults that may happen at every opportunity, with a probability of their own. */
export const hazards = [
  'commit answer lost',
  'commit lost',
  'orphaned commit',
  'cut between statements',
  'infrastructure error',
  'serialization failure',
  'lock timeout',
  'slow statement',
  'late batch',
  'offset answer lost',
  'offset refused',
  'offset delayed',
  'lost told late',
  'lost told as revoked',
  'request fails',
  'publish fails',
  'publish answer lost',
  'late decision',
  'handler fails',
  'slow handler',
  'tables away',
  'offset read stale',
] as const
export type Hazard = (typeof hazards)[number]
export type Hazards = Readonly<Partial<Record<Hazard, number>>>

/** The sizes and habits of one run; every seed draws its own. */
export type Options = {
  readonly daemons: number
  readonly lanes: number
  readonly workers: number
  readonly groups: number
  readonly topics: number
  readonly partitions: number
  readonly tenants: number
  readonly messages: number
  /** Part of the messages that lie there at the start. */
  readonly backlog: number
  /** The rest is produced within this time. Then faults stop, too. */
  readonly activeMs: number
  readonly stateful: boolean
  readonly serial: boolean
  readonly offsetMode: boolean
  readonly protocol: 'consumer' | 'classic'
  readonly onForeignOffset: GroupOptions['onForeignOffset']
  readonly onOutOfRange: GroupOptions['onOutOfRange']
  readonly start: 'earliest' | 'latest'
  /** One tenant has half of everything. */
  readonly giant: boolean
  readonly duplicates: number
  readonly holes: number
  readonly publishes: number
  /** Parts of the messages that end as a dead letter, by the worker's or PostgreSQL's word. */
  readonly poison: number
  readonly badEffects: number
  readonly hotRows: number
  readonly maxBatch: number
  readonly settings: EngineSettings
  /** Actors call a dependency for each message; workers look messages' keys up for them. */
  readonly looksUp: boolean
  readonly outages: readonly Outage[]
  /** Part of the messages whose threads do not survive them. */
  readonly killers: number
  /** Which message, in order, no process survives; -1: none. */
  readonly endsAll: number
}

/** The dependency is away from some time to another, for a share of the tenants. */
export type Outage = { readonly from: number; readonly to: number; readonly share: number }

export type Schedule = {
  readonly seed: string
  readonly options: Options
  readonly hazards: Hazards
  readonly strikes: readonly Strike[]
}

/** Everything that a seed decides before the run: sizes, which faults there are at all, how often, and when. */
export function scheduleOf(seed: string): Schedule {
  const random = new SeededRandom(`schedule ${seed}`)
  const options = drawOptions(random.fork('options'))
  return {
    seed,
    options,
    hazards: drawHazards(random.fork('hazards')),
    strikes: [...drawStrikes(random.fork('strikes'), options), ...drawReplays(random.fork('replays'), options)],
  }
}

function drawOptions(random: SeededRandom): Options {
  const groups = random.chance(0.2) ? 2 : 1
  const stateful = random.chance(0.6)
  const offsetMode = random.chance(0.25)
  return {
    daemons: random.pick([1, 1, 2, 2, 3]),
    lanes: random.between(1, 3),
    workers: random.between(1, 3),
    groups,
    topics: random.chance(0.2) ? 2 : 1,
    partitions: random.pick([1, 2, 3, 4, 6]),
    tenants: random.pick([1, 3, 8, 20, 50]),
    messages: Math.ceil(random.between(60, 500) / groups),
    backlog: random.pick([0, 0.3, 0.9]),
    activeMs: random.between(4_000, 25_000),
    stateful,
    serial: random.chance(0.15),
    offsetMode,
    protocol: random.chance(0.3) ? 'classic' : 'consumer',
    onForeignOffset: random.pick(['ignore', 'stop', 'accept']),
    onOutOfRange: random.pick(['stop', 'earliest', 'latest']),
    start: random.chance(0.9) ? 'earliest' : 'latest',
    giant: random.chance(0.25),
    duplicates: offsetMode || random.chance(0.3) ? 0 : random.pick([0.02, 0.02, 0.2]),
    holes: random.chance(0.5) ? 0 : random.pick([0.02, 0.3]),
    publishes: random.chance(0.4) ? 0 : random.pick([0.1, 0.6]),
    poison: random.chance(0.5) ? 0 : random.pick([0.01, 0.1]),
    badEffects: random.chance(0.5) ? 0 : random.pick([0.01, 0.05]),
    hotRows: random.chance(0.6) ? 0 : random.between(1, 3),
    maxBatch: random.pick([1, 10, 50, 200]),
    settings: drawSettings(random),
    looksUp: !offsetMode && random.chance(0.4),
    outages: drawOutages(random.fork('outages')),
    killers: random.chance(0.5) ? 0 : random.pick([0.005, 0.02, 0.05]),
    endsAll: drawEndsAll(random.fork('ends all')),
  }
}

function drawEndsAll(random: SeededRandom): number {
  return random.chance(0.15) ? random.below(60) : -1
}

/** Within the time in which faults happen at all, which is 4 to 25 seconds. */
function drawOutages(random: SeededRandom): Outage[] {
  return Array.from({ length: random.pick([0, 1, 1, 2, 5]) }, () => {
    const from = random.between(0, 20_000)
    return { from, to: from + random.pick([300, 2_000, 10_000]), share: random.pick([0.2, 0.7, 1, 1]) }
  })
}

function drawSettings(random: SeededRandom): EngineSettings {
  return {
    commitMaxRecords: random.pick([1, 5, 50, 500]),
    commitMaxBytes: random.pick([500, 20_000, 1_000_000]),
    backoffMinMs: 50,
    backoffMaxMs: 2_000,
    commitTargetMs: 1_000,
    workerCreditRecords: random.pick([1, 10, 100, 1_000]),
    workerCreditBytes: random.pick([500, 20_000, 1_000_000]),
    quantumRecords: random.pick([1, 8, 64]),
    budgetBytes: random.pick([2_000, 50_000, 10_000_000]),
    budgetRecords: random.pick([10, 200, 100_000]),
    mailboxMaxRecords: random.pick([4, 50, 1_000]),
    mailboxMaxBytes: 1 << 24,
    parkedMaxPerTenant: random.pick([1, 20, 100_000]),
    parkedMaxRecords: random.pick([5, 100_000]),
    parkedPageRows: random.pick([1, 3, 100]),
    parkAfterCommits: random.pick([1, 5, 50, 1_000]),
    parkAfterRanges: random.pick([1, 10, 1_000]),
    parkAfterMs: random.fork('quiet').pick([100, 2_000, 60_000]),
    trustAfterRecords: random.fork('trust').pick([3, 50, 1_000]),
    promptRaiseMs: 2_000,
    heldRetryMs: 200,
    heldLimitMs: 60_000,
    systemicWindowMs: 60_000,
    systemicLimitMs: 5_000,
    systemicRetryMs: 1_000,
    breaker: drawBreaker(random.fork('breaker')),
    maxIdLength: 256,
    offsetIntervalMs: random.pick([200, 1_000]),
    releaseMs: releaseTimeoutMs * 0.8,
    idleMailboxes: random.pick([0, 2, 1_000]),
    idleStateBytes: random.pick([0, 1_000, 1 << 20]),
    outboxMaxPending: random.pick([3, 100, 10_000]),
    deadLetterTopic,
  }
}

function drawBreaker(random: SeededRandom): EngineSettings['breaker'] {
  return {
    failures: random.pick([1, 2, 5]),
    openMs: random.pick([300, 1_000, 3_000]),
    successes: random.pick([1, 2]),
    // Sometimes shorter than a slow handler takes.
    // Longer than a thread may not answer, as the configuration demands of handlers.
    probeTimeoutMs: random.pick([1_500, 5_000]),
    maxWaitMs: random.pick([3_000, 1e9, 1e9]),
    sharedTenants: random.pick([2, 3]),
    sharedRatio: random.pick([0.3, 0.5, 1]),
    sharedWindowMs: 5_000,
    releasePerSecond: random.pick([5, 100]),
  }
}

/** How long a source keeps revoked partitions for its owner. */
export const releaseTimeoutMs = 4_000

/** What has few opportunities takes more of them. */
const seldom: Readonly<Partial<Record<Hazard, readonly [number, ...number[]]>>> = {
  'late batch': [0.5, 1],
  'lost told late': [0.1, 0.3, 0.6],
  'tables away': [0.1, 0.3, 0.6],
  'offset read stale': [0.1, 0.3, 0.6],
}

function drawHazards(random: SeededRandom): Hazards {
  const drawn: Partial<Record<Hazard, number>> = {}
  for (const hazard of hazards)
    if (random.chance(0.3)) drawn[hazard] = random.pick(seldom[hazard] ?? [0.005, 0.02, 0.1])
  return drawn
}

/** Faults that change what the workload may expect so much that few seeds have them. */
const rare: Readonly<Partial<Record<StrikeKind, number>>> = {
  'trim log': 0.06,
  'recreate topic': 0.1,
  'add partitions': 0.1,
  'reset offsets': 0.08,
  'operator resets': 0.2,
  failover: 0.1,
}

function drawStrikes(random: SeededRandom, options: Options): Strike[] {
  const kinds = strikes.filter((kind) => kind !== 'operator replays' && random.chance(rare[kind] ?? 0.25))
  const count = kinds.length === 0 ? 0 : random.between(0, 14)
  return Array.from({ length: count }, () => {
    const atPoint = random.chance(0.5)
    const nth = Math.ceil(random.delay(8))
    return {
      kind: random.any(kinds) ?? 'kill',
      at: atPoint ? { point: random.any(points) ?? 'commit sent', nth } : Math.round(random.next() * options.activeMs),
      pick: random.next(),
      forMs: Math.round(random.pick([50, 1_000, 5_000, 12_000]) * (0.5 + random.next())),
    }
  })
}

/** Apart from the others, so that a seed has these besides what it had. */
function drawReplays(random: SeededRandom, { activeMs }: Options): Strike[] {
  const count = random.chance(0.4) ? random.between(1, 5) : 0
  return Array.from({ length: count }, () => {
    const at = random.chance(0.3)
      ? { point: random.any(points) ?? 'committed', nth: Math.ceil(random.delay(60)) }
      : Math.round(activeMs * (0.2 + 0.8 * random.next()))
    return { kind: 'operator replays', at, pick: random.next(), forMs: 0 }
  })
}
