import type { KafkaRecord } from '../../core/kafka/source.ts'
import type { OutboxRow, Rerun } from '../../core/postgres/ownership.ts'
import type { PartitionRef, Range } from '../../core/postgres/transactions.ts'
import { type Chain, chainText, emptyChain, extend, retry } from './handler.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { messageIn } from './message.ts'
import { isKnown, passedOver } from './operator.ts'
import {
  type Applied,
  type Change,
  nameOf,
  type OutcomeRow,
  type ProgressRow,
  refKey,
  type Tables,
} from './postgres-tables.ts'
import type { Violate } from './violation.ts'

/** What the checker knows of a partition: its last progress row, who owns it, what is done. */
type Seen = {
  readonly ref: PartitionRef
  last: ProgressRow
  owner: string
  readonly outcomes: Map<number, OutcomeRow['kind']>
  /** Offsets of parked records, which are done and have no outcome. */
  readonly parked: Set<number>
  /** Those of them that are parked in another partition: an heir's, out of reach of who resets this one. */
  readonly elsewhere: Set<number>
  /** With which others a dead letter was brought back last, by its offset. */
  readonly replays: Map<number, number>
  /** Failed attempts, by offset. */
  readonly attempts: Map<number, number>
  /** The last offset of each tenant that has an outcome; of those brought back together, apart. */
  readonly order: Map<string, number>
  /** Positions done by the word of progress; holes included. */
  readonly done: Set<number>
  doneBelow: number
  begunAt: number
  /** From where to where operators had it run again, and since when; the last one first. */
  reruns: readonly (Rerun & { readonly from: number })[]
  /** Kafka's offset may be up to here although the watermark is not any more. */
  beenAt: number
}

/** Whose a key is, whose it has been, and when it was written. */
type Known = { readonly owner: string; readonly owners: ReadonlySet<string>; readonly writtenAt: number }

/** When a record ran, and why again. */
type Life = {
  /** It was to run again since then. */
  readonly since: string | null
  /** When its transaction began. */
  readonly begun: number
  /** It was a dead letter. */
  readonly broughtBack: boolean
  /** Keys of dead letters that were brought back, and ran in the same transaction. */
  readonly heldNow: ReadonlySet<string>
}

export type CheckerOptions = {
  readonly cluster: KafkaCluster
  readonly violate: Violate
  readonly offsetMode: boolean
  /** A handler may fail for no reason: then a good message may be a dead letter. */
  readonly flaky: boolean
  /** A record may wait for its dependency for too long. */
  readonly impatient: boolean
  /** Owners may have been lost, for other reasons, as often as a record may cost them. */
  readonly unlucky: boolean
  /** Ids of messages on which the handler does not fail any more. */
  readonly mended: ReadonlySet<string>
  /** Positions that were given up by configuration: below a start, or when the log had gone. */
  readonly excused: (ref: PartitionRef, offset: number) => boolean
}

/**
 * Judges from outside: from each transaction as it commits, from Kafka's logs and from what was published. It shares no
 * code with the engine.
 */
export class Checker {
  readonly #options: CheckerOptions
  #seen = new Map<string, Seen>()
  #keys = new Map<string, Known>()
  /** Keys that a failover has lost, with the outcomes of their records, which run again. */
  readonly #lostKeys = new Set<string>()
  /** Records that were found to be copies of such, before anybody heard of the failover, by the key. */
  readonly #ofLost = new Map<string, string>()
  #chains = new Map<string, Chain>()
  /** Everything ever committed for publication, where it came from; survives a failover. */
  readonly #outgoing = new Map<string, { readonly from: string; readonly offset: number; readonly index: number }>()
  /** Those of them that a failover has lost: who commits one again may have it from another record. */
  readonly #lostOutgoing = new Set<string>()
  readonly #published = new Set<string>()
  #firstCopies = new Map<string, { offset: number; index: number }>()

  constructor(options: CheckerOptions) {
    this.#options = options
  }

  /** A transaction has committed. */
  applied({ by, changes, begun }: Applied): void {
    const outcomes = changes.flatMap((change) => (change.kind === 'outcome' ? [change.row] : []))
    for (const change of changes) if (change.kind === 'progress' && change.reason !== 'commit') this.#owned(by, change)
    for (const change of changes) if (change.kind === 'reset') this.#reset(change)
    for (const change of changes) if (change.kind === 'adopt') this.#adopt(change)
    for (const change of changes) if (change.kind === 'retry') this.#retry(change)
    for (const change of changes) {
      if (change.kind === 'replay') this.#replay(change)
      if (change.kind === 'park') this.#park(change)
      if (change.kind === 'unpark') this.#unpark(change, outcomes)
    }
    const heldNow = new Set(outcomes.flatMap((row) => (this.#holds(row) ? (row.key ?? []) : [])))
    for (const row of outcomes) this.#outcome(row, begun, heldNow)
    this.#deadLetters(outcomes, changes)
    for (const change of changes) {
      if (change.kind === 'progress' && change.reason === 'commit') this.#progress(by, change, outcomes)
      if (change.kind === 'outbox') {
        const { position } = change.row
        const name = nameOf(change.row)
        if (this.#outgoing.has(name) && !this.#lostOutgoing.delete(name)) continue
        const life = this.#seen.get(refKey(change.origin))?.reruns.length ?? 0
        this.#outgoing.set(name, {
          from: `${refKey(change.origin)} ${this.#queueOf(change.origin, change.offset, change.row.tenant)} ${life}`,
          offset: change.offset,
          index: position.index,
        })
      }
    }
  }

  /** The database lost its last transactions: everything again, from those that are left. */
  restart(history: readonly Applied[]): void {
    for (const key of this.#keys.keys()) this.#lostKeys.add(key)
    for (const name of this.#outgoing.keys()) this.#lostOutgoing.add(name)
    this.#seen = new Map()
    this.#keys = new Map()
    this.#chains = new Map()
    this.#firstCopies = new Map()
    for (const applied of history) this.applied(applied)
  }

  /** Kafka has a message of the outbox (G6). */
  delivered(row: OutboxRow): void {
    const { violate } = this.#options
    const name = nameOf(row)
    const origin = this.#outgoing.get(name)
    if (origin === undefined) {
      violate('G6 published but not committed', name)
      return
    }
    if (this.#published.has(name)) return
    this.#published.add(name)
    const last = this.#firstCopies.get(origin.from)
    if (last && (last.offset > origin.offset || (last.offset === origin.offset && last.index > origin.index))) {
      violate(
        'G6 published out of order',
        `${name} of offset ${origin.offset} after one of offset ${last.offset} (${origin.from})`,
      )
    }
    this.#firstCopies.set(origin.from, origin)
  }

  /** Kafka's offset never passes the watermark (G1). */
  kafkaOffset(ref: PartitionRef, offset: number): void {
    const seen = this.#seen.get(refKey(ref))
    const watermark = Math.max(seen?.last.watermark ?? 0, seen?.beenAt ?? 0)
    if (offset > watermark)
      this.#options.violate('G1 Kafka offset past the watermark', `${refKey(ref)}: ${offset} > ${watermark}`)
  }

  /** What was committed for publication, neither delivered nor refused: in `deadLetters` as `outbox <id>`, or a dead letter. */
  unpublished({ deadLetters, refusedLetters }: Pick<Tables, 'deadLetters' | 'refusedLetters'>): string[] {
    return [...this.#outgoing.keys()].filter(
      (name) => !this.#published.has(name) && !deadLetters.has(`outbox ${name}`) && !refusedLetters.has(name),
    )
  }

  /** Whether the record at `offset` of the partition with this `refKey` has an outcome. */
  ended(key: string, offset: number): boolean {
    return this.#seen.get(key)?.outcomes.has(offset) ?? false
  }

  /** Copies of what a failover has lost, and has not been processed since. */
  copiesOfNothing(): string[] {
    return [...this.#ofLost].flatMap(([key, at]) => (this.#keys.has(key) ? [] : [`${at}: ${key}`]))
  }

  /** Offsets of visible records of the partition without an outcome. */
  undone(ref: PartitionRef, entries: readonly (KafkaRecord | null)[]): number[] {
    const seen = this.#seen.get(refKey(ref))
    return entries.flatMap((entry, offset) =>
      entry === null ||
      offset < (seen?.begunAt ?? 0) ||
      seen?.outcomes.has(offset) ||
      this.#options.excused(ref, offset)
        ? []
        : [offset],
    )
  }

  #owned(by: string, { ref, row, reason }: Change & { kind: 'progress' }): void {
    const seen = this.#seen.get(refKey(ref))
    if (reason === 'begin') {
      if (seen) this.#options.violate('G4 a partition begun twice', refKey(ref))
      this.#seen.set(refKey(ref), {
        ref,
        last: row,
        owner: '',
        outcomes: new Map(),
        parked: new Set(),
        elsewhere: new Set(),
        replays: new Map(),
        attempts: new Map(),
        order: new Map(),
        done: new Set(),
        doneBelow: row.watermark,
        begunAt: row.watermark,
        reruns: [],
        beenAt: 0,
      })
      return
    }
    if (seen === undefined) throw new Error('a raise without a row')
    if (row.epoch !== seen.last.epoch + 1 || row.seq !== seen.last.seq + 1)
      this.#options.violate('G4 epoch or seq skipped', `${refKey(ref)} ${row.epoch}/${row.seq}`)
    seen.last = row
    seen.owner = by
  }

  /** An operator's word: nobody owns it until it is taken over, and what is to run again has no outcome any more. */
  #reset(change: Change & { kind: 'reset' }): void {
    const { ref, row, position, rerun, dropParked } = change
    const seen = this.#seen.get(refKey(ref))
    if (seen === undefined) throw new Error('a reset without a row')
    const before = seen.last
    seen.last = row
    seen.owner = ''
    seen.beenAt = Math.max(seen.beenAt, before.watermark)
    if (rerun === null) {
      const passed = passedOver(before, change)
      if (dropParked)
        for (const offset of seen.parked)
          if (
            offset < position &&
            !seen.replays.has(offset) &&
            !seen.elsewhere.has(offset) &&
            seen.parked.delete(offset)
          )
            passed.push(offset)
      for (const offset of passed) {
        seen.outcomes.set(offset, 'skipped')
        seen.attempts.delete(offset)
      }
      this.#cover(seen, row, this.#options.cluster.topicById(ref.topicId)?.logs[ref.partition]?.entries ?? [])
      return
    }
    // What was to run again before, and has not yet, still is.
    const to = Math.max(rerun.to, ...seen.reruns.map((one) => one.to))
    seen.reruns = [{ from: position, to, since: rerun.since }, ...seen.reruns]
    seen.begunAt = Math.min(seen.begunAt, position)
    seen.doneBelow = position
    seen.done.clear()
    for (const offset of [...seen.outcomes.keys(), ...seen.parked, ...seen.attempts.keys(), ...seen.replays.keys()]) {
      if (offset < position || seen.elsewhere.has(offset)) continue
      seen.replays.delete(offset)
      seen.outcomes.delete(offset)
      seen.parked.delete(offset)
      seen.attempts.delete(offset)
    }
    for (const [queue, offset] of seen.order) if (offset >= position) seen.order.delete(queue)
  }

  #adopt({ ref }: Change & { kind: 'adopt' }): void {
    const seen = this.#seen.get(refKey(ref))
    for (const offset of seen?.parked ?? []) seen?.elsewhere.add(offset)
  }

  /** A record has one outcome or one parked row, never both, and its attempts go with it. */
  #park({ ref, row: { at, record, attempts }, counts }: Change & { kind: 'park' }): void {
    const { violate } = this.#options
    const seen = this.#seen.get(refKey({ ...ref, topicId: at.topicId, partition: at.partition }))
    const where = `${refKey(ref)} offset ${record.offset}`
    if (seen?.outcomes.has(record.offset)) violate('G1 parked after its outcome', where)
    const wanted = (seen?.attempts.get(record.offset) ?? 0) + (counts ? 1 : 0)
    if (attempts !== wanted) violate('attempts forgotten', `${where}: parked with ${attempts} instead of ${wanted}`)
    seen?.attempts.set(record.offset, attempts)
    seen?.parked.add(record.offset)
  }

  /** A dead letter may have one more outcome for each time that it is brought back. */
  #replay({ ref, origin, row: { record, at } }: Change & { kind: 'replay' }): void {
    const seen = this.#seen.get(refKey(origin))
    const { offset } = record
    if (seen?.outcomes.get(offset) !== 'failed')
      this.#options.violate('G1 brought back and no dead letter', `${refKey(origin)} offset ${offset}`)
    seen?.outcomes.delete(offset)
    seen?.attempts.delete(offset)
    seen?.parked.add(offset)
    if (refKey(ref) !== refKey(origin)) seen?.elsewhere.add(offset)
    seen?.replays.set(offset, at.batch ?? -1)
  }

  /** Whose order the record keeps: its tenant's, or that of what was brought back with it. */
  #queueOf(ref: PartitionRef, offset: number, tenant: string): string {
    return `${tenant} ${this.#seen.get(refKey(ref))?.replays.get(offset) ?? ''}`
  }

  #unpark({ origin, at }: Change & { kind: 'unpark' }, outcomes: readonly OutcomeRow[]): void {
    const { violate } = this.#options
    const where = `${refKey(origin)} offset ${at.offset}`
    const seen = this.#seen.get(refKey(origin))
    seen?.elsewhere.delete(at.offset)
    if (!seen?.parked.delete(at.offset)) violate('G1 a parked record that was none', where)
    if (!outcomes.some(({ ref, offset }) => refKey(ref) === refKey(origin) && offset === at.offset))
      violate('G1 a parked record lost', where)
  }

  /** Attempts are counted on, whoever makes them; that a dependency was away is none. */
  #retry({ ref, row, counts }: Change & { kind: 'retry' }): void {
    const { violate } = this.#options
    const seen = this.#seen.get(refKey(ref))
    const at = `${refKey(ref)} offset ${row.offset}`
    if (seen?.outcomes.has(row.offset)) violate('G1 a record tried again after its outcome', at)
    const before = seen?.attempts.get(row.offset) ?? 0
    if (row.attempts !== before + (counts ? 1 : 0))
      violate('attempts forgotten', `${at}: ${row.attempts} after ${before}`)
    seen?.attempts.set(row.offset, row.attempts)
  }

  #holds({ ref, offset, kind, key }: OutcomeRow): boolean {
    if (kind === 'duplicate' || this.#seen.get(refKey(ref))?.replays.has(offset) !== true) return false
    return this.#keys.get(key ?? '')?.owners.has(`${refKey(ref)} offset ${offset}`) === true
  }

  #outcome(row: OutcomeRow, begun: number, heldNow: ReadonlySet<string>): void {
    const { violate, cluster } = this.#options
    const at = `${refKey(row.ref)} offset ${row.offset}`
    const seen = this.#seen.get(refKey(row.ref))
    const record = cluster.topicById(row.ref.topicId)?.logs[row.ref.partition]?.entries[row.offset]
    if (!record || seen === undefined) {
      violate('G1 an outcome for no record', at)
      return
    }
    const before = seen.outcomes.get(row.offset)
    if (before !== undefined) violate('G1 a record with two outcomes', `${at}: ${before}, then ${row.kind}`)
    if (seen.parked.has(row.offset)) violate('G1 an outcome beside its parked row', at)
    seen.outcomes.set(row.offset, row.kind)
    const queue = this.#queueOf(row.ref, row.offset, row.tenant)
    const last = seen.order.get(queue) ?? -1
    if (row.offset <= last) violate('G3 a tenant out of order', `${at} after ${last} of ${queue}`)
    seen.order.set(queue, row.offset)
    const since = seen.reruns.find(({ from, to }) => from <= row.offset && row.offset < to)?.since ?? null
    this.#judge(row, record, at, { since, begun, broughtBack: seen.replays.has(row.offset), heldNow })
  }

  /** Each dead letter is to be published, as its record was, and nothing else as one. */
  #deadLetters(outcomes: readonly OutcomeRow[], changes: readonly Change[]): void {
    const { violate, cluster } = this.#options
    const letters = new Map<string, OutboxRow>()
    for (const change of changes)
      if (change.kind === 'outbox' && change.row.deadLetterOf !== null)
        letters.set(`${refKey(change.origin)} offset ${change.offset}`, change.row)
    for (const { ref, offset, kind } of outcomes) {
      const at = `${refKey(ref)} offset ${offset}`
      const letter = letters.get(at)
      if ((letter !== undefined) !== (kind === 'failed'))
        violate('G6 a dead letter that is not published', `${at}: ${kind}`)
      const record = cluster.topicById(ref.topicId)?.logs[ref.partition]?.entries[offset]
      if (letter && record && nameOf(letter) !== nameOf({ ...letter, ...record, headers: letter.headers }))
        violate('G6 a dead letter that is not its record', at)
    }
  }

  #judge(row: OutcomeRow, record: KafkaRecord, at: string, life: Life): void {
    const { violate, flaky, impatient, mended, unlucky } = this.#options
    const message = messageIn(record)
    const tenant = record.key === null ? '' : record.key.toString()
    const nobody = record.key === null || row.reason === 'bad_tenant'
    if (!nobody && row.tenant !== tenant)
      violate('G3 a record under another tenant', `${at}: ${row.tenant} instead of ${tenant}`)
    const wanted: Record<typeof message.kind, readonly OutcomeRow['kind'][]> = {
      good: ['done', 'duplicate'],
      refused: ['done', 'duplicate'],
      poison: ['failed', 'duplicate'],
      broken: ['failed', 'duplicate'],
      bad: ['failed', 'duplicate'],
      'bad effect': ['failed', 'duplicate'],
      'bad commit': ['failed', 'duplicate'],
      kills: ['failed', 'duplicate'],
      'kills twice': ['done', 'duplicate'],
      blocks: ['failed', 'duplicate'],
      'ends all': ['failed'],
    }
    // Owners that were lost for other reasons, each while just this record ran alone.
    const coincidence = unlucky && row.kind === 'failed' && row.reason === 'process_lost'
    const killer = !nobody && (message.kind === 'kills' || message.kind === 'blocks')
    if (row.kind === 'failed' && (row.reason === 'worker_crash') !== killer && !coincidence)
      violate('G5 another is blamed for a thread', `${at}: a ${message.kind} message is ${row.kind} ${row.reason}`)
    const endsAll = !nobody && message.kind === 'ends all'
    if (row.kind === 'failed' && (row.reason === 'process_lost') !== endsAll && !coincidence)
      violate('G5 another is blamed for a process', `${at}: a ${message.kind} message is ${row.kind} ${row.reason}`)
    const fits = nobody
      ? row.kind === 'failed'
      : wanted[message.kind].includes(row.kind) ||
        coincidence ||
        (row.kind === 'done' && mended.has(message.id)) ||
        (row.kind === 'failed' && ((flaky && row.reason === 'handler') || (impatient && row.reason === 'dependency')))
    const repeated = row.kind === 'failed' && row.reason === 'handler' && message.kind !== 'poison'
    const { length } = retry.delaysMs
    if ((row.attempts > length && row.reason !== 'process_lost') || (repeated && row.attempts < length))
      violate('a wrong number of attempts', `${at}: ${row.attempts} failed before the last`)
    if (!fits) violate('G1 a wrong outcome', `${at}: a ${message.kind} message is ${row.kind} ${row.reason}`)
    if (!nobody && row.kind !== 'failed' && row.messageId !== message.id)
      violate('G1 an outcome of another message', `${at}: ${row.messageId} instead of ${message.id}`)
    // Nobody has read what ended processes.
    if (!nobody && row.reason !== 'process_lost') this.#key(row, message.id, at, life)
    if (row.kind === 'done') this.#effects(row, at)
  }

  /** A key makes a record that runs again a copy only if it was written since then, and none that was its own a dead letter. */
  #key(row: OutcomeRow, messageId: string, at: string, { since, begun, broughtBack, heldNow }: Life): void {
    const { violate, offsetMode } = this.#options
    if (offsetMode) return
    const key = `${row.ref.group}/${row.tenant}/${messageId}`
    const known = this.#keys.get(key)
    const counts = isKnown(known?.writtenAt, since)
    if (row.kind === 'duplicate') {
      if (known?.owner === at) violate('G1 a duplicate of itself', at)
      else if (!counts && !heldNow.has(key) && this.#lostKeys.has(key)) this.#ofLost.set(key, at)
      else if (!counts && !heldNow.has(key))
        violate(since === null ? 'G1 a duplicate of nothing' : 'G1 what was to run again did not', at)
      return
    }
    if (row.kind === 'failed' && row.reason === 'schema') {
      if (row.key !== null) violate('G2 a bad record with a key', `${at}: ${row.key}`)
      return
    }
    const own = broughtBack && known?.owners.has(at)
    if (counts && !own) violate(row.kind === 'done' ? 'G2 effects twice' : 'G2 a key twice', `${at}: ${key}`)
    if (row.key !== key) violate('G2 an outcome without its key', `${at}: ${row.key}`)
    this.#keys.set(key, { owner: at, owners: new Set(known?.owners).add(at), writtenAt: begun })
  }

  #effects(row: OutcomeRow, at: string): void {
    const { violate } = this.#options
    const [effect] = row.effects
    if (row.effects.length !== 1 || effect?.offset !== row.offset || effect.messageId !== row.messageId)
      violate('G2 effects of another run', at)
    if (row.state === null) return
    const name = `${row.ref.group}/${row.actor}/${row.tenant}`
    const chain = extend(this.#chains.get(name) ?? emptyChain, row.messageId)
    this.#chains.set(name, chain)
    if (row.state !== chainText(chain) || effect?.chain !== row.state)
      violate('G3 state is not the replay', `${at}: ${row.state}, the replay gives ${chainText(chain)}`)
  }

  #progress(by: string, { ref, row }: Change & { kind: 'progress' }, outcomes: readonly OutcomeRow[]): void {
    const { violate, cluster } = this.#options
    const key = refKey(ref)
    const seen = this.#seen.get(key)
    if (seen === undefined) throw new Error('a commit without a row')
    const { last } = seen
    if (row.epoch !== last.epoch || row.seq !== last.seq + 1)
      violate(
        'G4 a commit that does not follow the last',
        `${key} ${row.epoch}/${row.seq} after ${last.epoch}/${last.seq}`,
      )
    if (by !== seen.owner) violate('G4 two daemons under one epoch', `${key}: ${by}, owned by ${seen.owner}`)
    if (row.watermark < last.watermark)
      violate('G1 the watermark went back', `${key}: ${row.watermark} after ${last.watermark}`)
    const log = cluster.topicById(ref.topicId)?.logs[ref.partition]
    const end = row.ahead.at(-1)?.[1] ?? row.watermark
    if (end > (log?.entries.length ?? 0)) violate('G1 progress past the log', `${key}: ${end} > ${log?.entries.length}`)
    seen.last = row
    const covered = (offset: number) => offset < row.watermark || within(row.ahead, offset)
    for (const { offset, ref: from } of outcomes)
      if (refKey(from) === key && !covered(offset))
        violate('G1 an outcome that progress does not have', `${key} offset ${offset}`)
    for (const offset of seen.done)
      if (!covered(offset)) violate('G1 progress forgot what was done', `${key} offset ${offset}`)
    this.#cover(seen, row, log?.entries ?? [])
  }

  /** Whatever is newly done must have an outcome, or nothing that could have one. */
  #cover(seen: Seen, row: ProgressRow, entries: readonly (KafkaRecord | null)[]): void {
    const { violate, excused } = this.#options
    for (const [from, to] of [[seen.doneBelow, row.watermark] as const, ...row.ahead]) {
      for (let offset = from; offset < to; offset++) {
        if (seen.done.has(offset)) continue
        seen.done.add(offset)
        if (entries[offset] && !seen.outcomes.has(offset) && !seen.parked.has(offset) && !excused(seen.ref, offset))
          violate('G1 a record lost', `${refKey(seen.ref)} offset ${offset} is done without an outcome`)
      }
    }
    for (let offset = seen.doneBelow; offset < row.watermark; offset++) seen.done.delete(offset)
    seen.doneBelow = row.watermark
  }
}

function within(ranges: readonly Range[], offset: number): boolean {
  return ranges.some(([from, to]) => from <= offset && offset < to)
}
