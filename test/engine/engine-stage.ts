import { steadyTime } from '../../core/clock.ts'
import type { Failure } from '../../core/effects.ts'
import type { TenantryError } from '../../core/errors.ts'
import type { Delivery, Publisher } from '../../core/kafka/publisher.ts'
import type {
  KafkaRecord,
  OffsetCommitReply,
  PartitionOffset,
  Source,
  SourceListener,
  TopicDescription,
} from '../../core/kafka/source.ts'
import type { Log } from '../../core/log.ts'
import type { MessageKey } from '../../core/message-key.ts'
import { type CommitFigures, silentMetrics } from '../../core/metrics.ts'
import type {
  BreakerRequests,
  Ledger,
  LostOwners,
  OutboxRow,
  Ownership,
  ParkedRow,
  ParkedTenant,
  Rerun,
  RetryRow,
  StateRow,
} from '../../core/postgres/ownership.ts'
import type {
  BreakerRow,
  Commit,
  CommitMode,
  CommitResult,
  Lane,
  Outcome,
  Range,
  Resolution,
} from '../../core/postgres/transactions.ts'
import type { RetryPolicy } from '../../core/retry-policy.ts'
import type { Decision, Dispatch, Done, Failed, Workers } from '../../core/workers.ts'
import { Engine, type EngineSettings } from '../../supervisors/engine.ts'
import type { GroupOptions } from '../../supervisors/group.ts'
import { ManualClock } from '../manual-clock.ts'

const topic = 't'
const day = 86_400_000

export const stageSettings: EngineSettings = {
  commitMaxRecords: 100,
  commitMaxBytes: 1 << 20,
  commitTargetMs: 1_000,
  backoffMinMs: 100,
  backoffMaxMs: 1_000,
  workerCreditRecords: 1_000,
  workerCreditBytes: 1 << 20,
  quantumRecords: 64,
  budgetBytes: 1 << 30,
  budgetRecords: 1_000_000,
  mailboxMaxRecords: 1_000_000,
  mailboxMaxBytes: 1 << 30,
  parkedMaxPerTenant: 1_000_000,
  parkedMaxRecords: 1_000_000,
  parkedPageRows: 100,
  parkAfterCommits: 1_000,
  parkAfterRanges: 1_000,
  parkAfterMs: 3_600_000,
  trustAfterRecords: 1_000,
  promptRaiseMs: 2_000,
  heldRetryMs: 1_000,
  heldLimitMs: 60_000,
  systemicWindowMs: 60_000,
  systemicLimitMs: 600_000,
  systemicRetryMs: 5_000,
  breaker: {
    failures: 5,
    openMs: 60_000,
    successes: 2,
    probeTimeoutMs: 60_000,
    maxWaitMs: 86_400_000,
    sharedTenants: 3,
    sharedRatio: 0.5,
    sharedWindowMs: 60_000,
    releasePerSecond: 1_000,
  },
  maxIdLength: 256,
  offsetIntervalMs: 1_000,
  releaseMs: 20_000,
  idleMailboxes: 1_000,
  idleStateBytes: 1 << 20,
  outboxMaxPending: 1_000,
  deadLetterTopic: null,
}

/** As in RFC-PHOENIX-02, to the millisecond. */
const retry: RetryPolicy = { delaysMs: [1_000, 2_000, 5_000], byType: new Map(), jitter: 0 }

export type StageOptions = {
  readonly stateful?: boolean
  readonly calls?: boolean
  readonly partitions?: number
  /** Of these, those that another group has, named `h`. */
  readonly others?: readonly number[]
  readonly threads?: number
  readonly retry?: RetryPolicy
  readonly onForeignOffset?: GroupOptions['onForeignOffset']
  readonly onOutOfRange?: GroupOptions['onOutOfRange']
  readonly settings?: Partial<EngineSettings>
  /** What operators have asked for when the daemon begins. */
  readonly requests?: BreakerRequests
  /** Others than those that answer at once. */
  readonly workers?: Workers
}

/**
 * The engine between ports that a test holds in its hands: records are sent, commits answered, time passed, as it says.
 * Workers answer each record at once, as done, with what `effects` gives.
 */
export class EngineStage {
  readonly clock = new ManualClock()
  /** PostgreSQL's: a day ahead of the daemon's. */
  readonly serverTime = steadyTime(this.clock, this.clock.now() + day)
  readonly engine: Engine
  /** Outcomes of every commit that succeeded, as `tenant/offset:kind`, in order. */
  readonly committed: string[] = []
  /** The same as they were committed. */
  readonly outcomes: Outcome[] = []
  /** How many outcomes each commit had that was sent. */
  readonly sizes: number[] = []
  readonly lines: { event: string; fields: object; sentence: string }[] = []
  readonly fatal: TenantryError[] = []
  /** What metrics were told of each commit, by group. */
  readonly counted: (readonly [group: string, figures: CommitFigures])[] = []
  readonly paused = new Set<number>()
  /** Records as workers were sent them, and to which worker, as `worker:offset`. */
  readonly dispatched: KafkaRecord[] = []
  readonly sentTo: string[] = []
  /** Records that end the thread that runs them, with all that it was sent at once. */
  readonly killers = new Set<number>()
  readonly losses: number[] = []
  /** The extra thread, as it was asked for. */
  readonly extra: ('opened' | 'closed')[] = []
  /** Of these, which run again, and since when. */
  readonly again = new Map<number, string>()
  readonly released: number[] = []
  /** What a new owner finds of those before it, and what it says of itself. */
  lostOwners: LostOwners = { count: 0, givenUp: 0, suspects: [] }
  readonly givenBack: number[] = []
  readonly trusted: number[] = []
  /** Resolves when PostgreSQL lets a partition be taken over. */
  raising: () => Promise<void> = async () => {}
  /** Resolves when PostgreSQL has that. */
  trusting: () => Promise<void> = async () => {}
  /** Offsets of records that are about to run alone; -1 for none. */
  readonly lone: number[] = []
  runAlone = async (offset: number): Promise<boolean> => this.lone.push(offset) > 0
  /** Answers of Kafka and PostgreSQL, which a test may replace. */
  answer: (commit: Commit) => CommitResult | Promise<CommitResult> = (commit) => ({ kind: 'committed', commit })
  resolution: () => Resolution = () => ({ kind: 'not-committed', moved: [] })
  commitOffsets: (offsets: readonly PartitionOffset[]) => Promise<OffsetCommitReply> = async () => 'committed'
  /** The group's offset of every partition, as Kafka says it; undefined where it has none. */
  groupOffset: number | undefined = undefined
  readParked: Ledger['readParked'] = async (_ref, wanted) => ({
    rows: wanted.flatMap(({ tenant, after, rows }) =>
      this.parked
        .filter((row) => row.tenant === tenant && row.record.offset > (after?.offset ?? -1))
        .sort((a, b) => a.record.offset - b.record.offset)
        .slice(0, rows),
    ),
    cut: false,
  })
  state: (tenant: string) => StateRow | undefined = () => undefined
  deliver: (messages: readonly OutboxRow[]) => Promise<readonly Delivery[]> = async (messages) =>
    messages.map(() => ({ kind: 'delivered' }))
  effects: (offset: number) => Pick<Done, 'effects' | 'publishes'> = () => ({ effects: [], publishes: false })
  /** Outcomes of a commit that asks for the keys first which turn out to be duplicates. */
  copies: (commit: Commit) => readonly number[] = () => []
  /** The key of each message. */
  keyOf: (offset: number) => MessageKey | null = () => null
  /** The first time that a worker has this record, its handler fails. */
  failsAt = -1
  /** How often the handler of the record at an offset is still to fail for a while. */
  readonly failures = new Map<number, number>()
  /** What PostgreSQL says to a handler that fails. */
  sqlstate = ''
  /** Tenants whose messages name a table that workers do not know. */
  readonly lacking = new Set<string>()
  /** What workers say to those. */
  lackingState = '42P01'
  /** The catalog: it is read a moment later, unless `away`. */
  readonly tables = {
    looks: 0,
    away: false,
    lookedAt: Number.NEGATIVE_INFINITY,
    toldAt: Number.NEGATIVE_INFINITY,
    lookAgain: () => {
      this.tables.looks++
      if (!this.tables.away) this.looked(this.clock.monotonic() + 1)
    },
  }
  /** Bytes that each decision says its effects and state take. */
  weight = 0
  /** Tenants whose states were asked for. */
  statesAsked = 0
  /** Failed attempts that a new owner finds. */
  retries: readonly RetryRow[] = []
  /** An operator's reset that a new owner finds. */
  rerun: Rerun | null = null
  /** The parked rows. */
  parked: ParkedRow[] = []
  /** Breakers that a new owner finds, and what operators have asked for. */
  breakers: readonly BreakerRow[] = []
  requests: BreakerRequests = { trips: [], resets: [] }
  readonly #stateful: boolean
  /** Workers cannot read any state. */
  unreadable = false
  /** Why, in the worker's word. */
  blockedBy = 'state_unreadable'
  /** Tenants whose handlers do not come to an end, until `speak`. */
  readonly silent = new Set<string>()
  readonly #unsaid: Dispatch[] = []
  readonly #tenants = new Map<number, string>()
  /** Progress that a new owner finds. */
  watermark = 0
  ahead: readonly Range[] = []
  /** The offset that an owner before wrote to Kafka last, as a new one finds it. */
  writtenOffset = -1
  /** A worker that says nothing. */
  mute = false
  description: TopicDescription
  readonly #listener: SourceListener
  readonly #otherListener: SourceListener
  readonly #others: readonly number[]
  readonly #tokens = new Map<number, number>()
  readonly #positions = new Map<number, number>()
  readonly #epochs = new Map<number, number>()

  constructor(options: StageOptions = {}) {
    const { partitions = 1, others = [], threads = 1, stateful = false, calls = false } = options
    this.#others = others
    this.#stateful = stateful
    this.requests = options.requests ?? this.requests
    this.description = { topic, id: '00000000-0000-4000-8000-000000000001', partitions }
    const group: GroupOptions = {
      name: 'g',
      source: this.#source(),
      actors: [
        {
          index: 0,
          name: 'a',
          topic,
          stateful,
          serial: false,
          dependencies: calls ? ['api'] : [],
          retry: options.retry ?? retry,
        },
      ],
      start: 'earliest',
      onForeignOffset: options.onForeignOffset ?? 'ignore',
      onOutOfRange: options.onOutOfRange ?? 'stop',
      tenantHeader: null,
    }
    let uuids = 0
    this.engine = new Engine({
      clock: this.clock,
      random: { next: () => 0.5, uuid: () => `commit-${uuids++}` },
      log: this.#log(),
      metrics: { ...silentMetrics, committed: (groups) => void this.counted.push(...groups) },
      groups: [group, { ...group, name: 'h' }],
      workers: options.workers ?? this.#workers(threads),
      lanes: [this.#lane()],
      ledger: this.#ledger(),
      publisher: this.#publisher(),
      settings: { ...stageSettings, ...options.settings },
      tables: this.tables,
      serverTime: this.serverTime,
      failed: (error) => this.fatal.push(error),
    })
    this.#listener = this.engine.listener('g')
    this.#otherListener = this.engine.listener('h')
    this.engine.start()
  }

  /** Workers and lanes hear of the tables as they were at this time. */
  looked(at: number): void {
    this.tables.lookedAt = at
    this.tables.toldAt = this.clock.monotonic() + 1
  }

  /** Dead letters of every commit that succeeded, as `offset: reason, attempt N`, in order. */
  get deadLetters(): string[] {
    return this.outcomes.flatMap(({ record, attempts, result }) =>
      result.kind === 'failed' ? [`${record.offset}: ${result.failure.reason}, attempt ${attempts + 1}`] : [],
    )
  }

  /** Assigns all partitions; they are owned when this resolves. */
  async assign(...partitions: readonly number[]): Promise<void> {
    const all = partitions.length > 0 ? partitions : Array.from({ length: this.description.partitions }, (_, i) => i)
    for (const [listener, its] of Map.groupBy(all, (partition) => this.#listenerOf(partition)))
      listener.assigned(its.map((partition) => ({ topic, partition })))
    await this.clock.pass(0)
  }

  /**
   * Records of `tenants`, one after the other, come in `partition`, written `age` ms ago, and the log has so many more
   * behind them; each is a view of the batch, which has 1 MiB.
   */
  async send(tenants: readonly string[], partition = 0, age = 1e12, behind = 1): Promise<void> {
    const from = this.#positions.get(partition) ?? 0
    const batch = Buffer.alloc(1 << 20)
    let at = 0
    const records = tenants.map((tenant, i): KafkaRecord => {
      const key = batch.subarray(at, at + batch.write(tenant, at))
      const value = batch.subarray(at + key.length, at + key.length + batch.write('{}', at + key.length))
      at += key.length + value.length
      return { offset: from + i, timestamp: Math.max(0, this.clock.now() - age), key, value, headers: [] }
    })
    const position = from + records.length
    this.#positions.set(partition, position)
    const token = this.#tokens.get(partition) ?? -1
    this.#listenerOf(partition).records([{ topic, partition, token, records, position, end: position + behind }])
    await this.clock.pass(0)
  }

  #listenerOf(partition: number): SourceListener {
    return this.#others.includes(partition) ? this.#otherListener : this.#listener
  }

  /** Silent handlers end. */
  speak(): void {
    const unsaid = this.#unsaid.splice(0)
    this.silent.clear()
    this.engine.workersListener.decided(
      0,
      unsaid.flatMap((dispatch) => this.#decisions(dispatch)),
    )
  }

  /** The first silent handler ends; what came after its record goes on being silent. */
  speakOnce(): void {
    const [first, ...others] = this.#unsaid.splice(0)
    if (first === undefined) return
    const [answer] = this.#decisions(first)
    this.#unsaid.push({ ...first, records: first.records.slice(1) }, ...others)
    if (answer !== undefined) this.engine.workersListener.decided(0, [answer])
  }

  async revoke(partition = 0): Promise<void> {
    this.#listener.revoked([{ topic, partition }])
    await this.clock.pass(0)
  }

  async lose(partition = 0): Promise<void> {
    this.#listener.lost([{ topic, partition }])
    await this.clock.pass(0)
  }

  /** The log no longer has this position. */
  outOfRange(position: number, start: number, end: number, partition = 0): void {
    const at = { topic, partition }
    this.#listener.outOfRange(at, position, { ...at, start, end })
  }

  async topicChanged(description: TopicDescription): Promise<void> {
    this.description = description
    this.#listener.topicChanged(description)
    await this.clock.pass(0)
  }

  /** An operator has moved the partition on. */
  movedOn(partition = 0): void {
    this.#epochs.set(partition, (this.#epochs.get(partition) ?? 0) + 1)
  }

  /** Why the daemon would not be ready. */
  get reasons(): readonly string[] {
    return this.engine.status().reasons
  }

  #log(): Log {
    const line = (event: string, fields: object, sentence: string) => void this.lines.push({ event, fields, sentence })
    return { debug: line, info: line, warn: line, error: line }
  }

  #source(): Source {
    return {
      start: async () => {},
      stop: async () => {},
      lingering: 0,
      seek: ({ partition }, position, token) => {
        this.#tokens.set(partition, token)
        this.#positions.set(partition, position)
        this.paused.delete(partition)
      },
      pause: (list) => list.forEach(({ partition }) => this.paused.add(partition)),
      resume: (list) => list.forEach(({ partition }) => this.paused.delete(partition)),
      release: (list) => list.forEach(({ partition }) => this.released.push(partition)),
      commit: (offsets) => this.commitOffsets(offsets),
      committed: async (list) => {
        const offset = this.groupOffset
        return offset === undefined ? [] : list.map((at) => ({ ...at, offset }))
      },
      range: async (list) => list.map((at) => ({ ...at, start: 0, end: 0 })),
      offsetsAt: async () => [],
      describe: async () => this.description,
      clusterId: async () => 'cluster',
    }
  }

  #workers(count: number): Workers {
    return {
      count,
      forget() {},
      openExtra: () => {
        if (this.extra.at(-1) === 'opened') return
        this.extra.push('opened')
        queueMicrotask(() => this.engine.workersListener.ready(count))
      },
      closeExtra: () => void this.extra.push('closed'),
      dispatch: (worker, dispatches) => {
        for (const { records, again = [] } of dispatches) {
          this.dispatched.push(...records)
          this.sentTo.push(...records.map(({ offset }) => `${worker}:${offset}`))
          for (const [place, since] of again) this.again.set(records[place]?.offset ?? -1, since)
        }
        if (this.mute) return
        if (dispatches.some(({ records }) => records.some(({ offset }) => this.killers.has(offset))))
          return queueMicrotask(() => this.#lost(worker, worker === count, dispatches))
        for (const { mailbox, opening } of dispatches) if (opening) this.#tenants.set(mailbox, opening.tenant)
        const loud = dispatches.filter(({ mailbox }) => !this.silent.has(this.#tenants.get(mailbox) ?? ''))
        if (loud.length < dispatches.length) this.#unsaid.push(...dispatches.filter((one) => !loud.includes(one)))
        const decisions = loud.flatMap((dispatch) => this.#decisions(dispatch))
        queueMicrotask(() => this.engine.workersListener.decided(worker, decisions))
      },
    }
  }

  #lost(worker: number, extra: boolean, dispatches: readonly Dispatch[]): void {
    this.losses.push(worker)
    if (extra) this.extra.push('closed')
    const executing = dispatches.map(({ mailbox, records }) => ({ mailbox, offset: records[0]?.offset ?? -1 }))
    this.engine.workersListener.lost(worker, new Error('killed'), executing)
    if (!extra) queueMicrotask(() => this.engine.workersListener.ready(worker))
  }

  #decisions({ mailbox, run, records }: Dispatch): Decision[] {
    const [first] = records
    if (this.unreadable && first !== undefined) {
      const failure = { reason: this.blockedBy, errorClass: '', message: '', stack: '', kind: 'permanent' } as const
      const outcome = { kind: 'failed', failure, key: null, type: '', traceId: '', messageId: '' } as const
      return [{ mailbox, run, offset: first.offset, outcome }]
    }
    if (first !== undefined && this.lacking.has(this.#tenants.get(mailbox) ?? '')) {
      const failure = { reason: 'effect', errorClass: '', message: 'no table', stack: '', sqlstate: this.lackingState }
      const outcome = { ...this.#failed(first.offset), failure: { ...failure, kind: 'permanent' } } as const
      return [{ mailbox, run, offset: first.offset, outcome }]
    }
    const failing = records.findIndex(({ offset }) => offset === this.failsAt || this.failures.has(offset))
    if (failing >= 0) {
      const offset = records[failing]?.offset ?? -1
      const failed: Decision = { mailbox, run, offset, outcome: this.#failed(offset) }
      return [...this.#decisions({ mailbox, run, opening: null, records: records.slice(0, failing) }), failed]
    }
    return records.map(({ offset }) => ({
      mailbox,
      run,
      offset,
      outcome: {
        kind: 'done',
        key: this.keyOf(offset),
        ...this.effects(offset),
        stateful: this.#stateful,
        packed: null,
        state: this.#stateful ? { version: 1, json: '{}' } : null,
        type: 'go',
        traceId: '',
        messageId: `m${offset}`,
        bytes: this.weight,
        served: 0,
      },
    }))
  }

  #apply({ outcomes }: Commit): void {
    this.outcomes.push(...outcomes)
    for (const { tenant, record, result, row, attempts, firstFailedAt, knownSince } of outcomes) {
      if (result.kind === 'parked') {
        const at = { generation: 0, topicId: this.description.id, partition: 0, replays: 0 }
        this.parked.push({ tenant, at, record, attempts, firstFailedAt, since: result.since, knownSince })
      } else if (row !== null && result.kind !== 'retried') {
        const place = this.parked.findIndex((one) => one.tenant === tenant && one.record.offset === record.offset)
        if (place < 0) throw new Error(`${tenant}/${record.offset} is not parked`)
        this.parked.splice(place, 1)
      }
    }
  }

  parkedTenants(): ParkedTenant[] {
    const tenants = Map.groupBy(this.parked, ({ tenant }) => tenant)
    return [...tenants].map(([tenant, rows]) => ({
      tenant,
      rows: rows.filter(({ at }) => at.replays === 0).length,
      replayed: rows.some(({ at }) => at.replays > 0),
      since: Math.min(...rows.map(({ since }) => since)),
    }))
  }

  #replayed(): ParkedRow[] {
    const rows = this.parked.filter(({ at }) => at.replays > 0)
    return rows.sort((a, b) => a.record.offset - b.record.offset)
  }

  #failed(offset: number): Failed {
    const left = this.failures.get(offset)
    if (left === undefined) this.failsAt = -1
    else if (left > 1) this.failures.set(offset, left - 1)
    else this.failures.delete(offset)
    const failure = { ...handlerFailed.failure, ...(this.sqlstate !== '' && { sqlstate: this.sqlstate }) }
    return { ...handlerFailed, failure: { ...failure, kind: left === undefined ? 'permanent' : 'transient' } }
  }

  #lane(): Lane {
    return {
      commit: async (commit: Commit, mode: CommitMode) => {
        this.sizes.push(commit.outcomes.length)
        const settled = mode.kind === 'checked' ? mode.settle(this.copies(commit)) : commit
        const result = await this.answer(settled)
        if (result.kind === 'committed') this.#apply(settled)
        if (result.kind === 'committed')
          for (const { tenant, record, result: outcome } of settled.outcomes)
            this.committed.push(`${tenant}/${record.offset}:${outcome.kind}`)
        return result
      },
      resolve: async () => this.resolution(),
    }
  }

  #ledger(): Ledger {
    return {
      topicProgress: async () => ({
        partitions: this.description.partitions,
        recreated: false,
        superseded: false,
        clusterId: 'cluster',
      }),
      begin: async () => {},
      beginAgain: async () => {},
      takeOver: async ({ partition }): Promise<Ownership> => {
        await this.raising()
        const epoch = (this.#epochs.get(partition) ?? 0) + 1
        this.#epochs.set(partition, epoch)
        return {
          epoch,
          seq: epoch,
          commitId: `raise ${partition} ${epoch}`,
          watermark: this.watermark,
          ahead: this.ahead,
          kafkaOffset: this.writtenOffset,
          inherited: [],
          retries: this.retries,
          parked: this.parkedTenants(),
          breakers: this.breakers,
          rerun: this.rerun,
          lost: this.lostOwners,
        }
      },
      standing: async (refs) =>
        refs.map(({ partition }) => ({ epoch: this.#epochs.get(partition) ?? -1, kafkaOffset: this.writtenOffset })),
      release: async (owned) => void this.givenBack.push(...owned.map(({ ref }) => ref.partition)),
      runAlone: (_ref, _epoch, record) => this.runAlone(record.offset),
      runNoneAlone: async () => void this.lone.push(-1),
      trust: async ({ partition }) => {
        await this.trusting()
        this.trusted.push(partition)
      },
      acceptOffset: async () => {},
      readOutbox: async () => ({ rows: [], more: 0 }),
      deleteOutbox: async () => true,
      loadStates: async (_group, _actor, tenants) => {
        this.statesAsked += tenants.length
        return tenants.flatMap((tenant) => this.state(tenant) ?? [])
      },
      readParked: (ref, wanted, maxBytes) => this.readParked(ref, wanted, maxBytes),
      findReplayed: async () =>
        [...Map.groupBy(this.#replayed(), ({ tenant }) => tenant)].map(([tenant, [first]]) => ({
          place: 0,
          tenant,
          first: { generation: 0, offset: first?.record.offset ?? 0 },
        })),
      recordOffsets: async () => {},
      refuseOutbox: async () => {},
      breakerRequests: async () => this.requests,
    }
  }

  #publisher(): Publisher {
    return { send: (messages) => this.deliver(messages) }
  }
}

const handlerFailed: Failed = {
  kind: 'failed',
  failure: { reason: 'handler', errorClass: 'Error', message: 'no', stack: '', kind: 'permanent' },
  key: null,
  type: 'go',
  traceId: '',
  messageId: '',
}

/** PostgreSQL refuses an effect with this SQLSTATE. */
export function refusal(sqlstate: string, message = 'no'): Failure {
  return { reason: 'effect', errorClass: 'PostgresError', message, stack: '', kind: 'permanent', sqlstate }
}
