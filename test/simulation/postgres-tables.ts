import type { LoneRecord, LostOwners, OutboxRow, ParkedRow, Rerun, RetryRow } from '../../core/postgres/ownership.ts'
import type {
  BreakerChange,
  BreakerRow,
  OutboxPosition,
  ParkedPosition,
  PartitionRef,
  Range,
} from '../../core/postgres/transactions.ts'

/** A row of partition_progress. */
export type ProgressRow = {
  readonly epoch: number
  readonly seq: number
  readonly commitId: string
  readonly watermark: number
  readonly ahead: readonly Range[]
  readonly kafkaOffset: number
}

/** A row of partition_owners, with the suspect_records of its partition. */
export type OwnerRow = LostOwners & {
  readonly epoch: number
  readonly process: string
  readonly since: number
  readonly watermark: number
  readonly released: boolean
  readonly alone: LoneRecord | null
}

/** What became of one record, with all it takes to judge it. */
export type OutcomeRow = {
  readonly ref: PartitionRef
  readonly tenant: string
  readonly offset: number
  readonly actor: string
  readonly kind: 'done' | 'failed' | 'duplicate' | 'skipped'
  readonly reason: string
  /** Attempts that failed before this one. */
  readonly attempts: number
  readonly messageId: string
  /** Null where it claims no key. */
  readonly key: string | null
  /** The state that the actor left, null where it keeps none. */
  readonly state: string | null
  readonly effects: readonly EffectRow[]
}

/** A row that the simulated handler wrote: what it saw when it ran. */
type EffectRow = { readonly messageId: string; readonly offset: number; readonly chain: string }

/** One change that a transaction makes when it commits. */
export type Change =
  | {
      readonly kind: 'topic'
      readonly group: string
      readonly topic: string
      readonly topicId: string
      readonly clusterId: string
      readonly partitions: number
      /** It is the newest of its name from now on. */
      readonly again: boolean
    }
  | {
      readonly kind: 'progress'
      readonly ref: PartitionRef
      readonly row: ProgressRow
      readonly reason: 'begin' | 'raise' | 'commit'
    }
  | {
      /** An operator's, or a daemon's in its stead. */
      readonly kind: 'reset'
      readonly ref: PartitionRef
      readonly row: ProgressRow
      readonly position: number
      readonly rerun: Rerun | null
      readonly dropParked: boolean
    }
  | { readonly kind: 'outcome'; readonly row: OutcomeRow }
  | {
      readonly kind: 'state'
      readonly name: string
      readonly tenant: string
      readonly version: number
      readonly json: string
      readonly partition: number
    }
  | {
      readonly kind: 'outbox'
      readonly ref: PartitionRef
      /** Of the record that it comes from. */
      readonly origin: PartitionRef
      readonly offset: number
      readonly row: OutboxRow
    }
  | { readonly kind: 'unoutbox'; readonly ref: PartitionRef; readonly upTo: OutboxPosition }
  /** `counts`: an attempt has failed. */
  | { readonly kind: 'retry'; readonly ref: PartitionRef; readonly row: RetryRow; readonly counts: boolean }
  | { readonly kind: 'park'; readonly ref: PartitionRef; readonly row: ParkedRow; readonly counts: boolean }
  | {
      readonly kind: 'unpark'
      readonly ref: PartitionRef
      /** Where the record was read. */
      readonly origin: PartitionRef
      readonly tenant: string
      readonly at: ParkedPosition
    }
  | {
      readonly kind: 'replay'
      readonly ref: PartitionRef
      /** Where the record was read. */
      readonly origin: PartitionRef
      readonly row: ParkedRow
    }
  | { readonly kind: 'adopt'; readonly ref: PartitionRef; readonly heir: PartitionRef }
  | { readonly kind: 'unretry'; readonly ref: PartitionRef; readonly offset: number }
  | { readonly kind: 'breaker'; readonly ref: PartitionRef; readonly change: BreakerChange }
  | { readonly kind: 'owner'; readonly ref: PartitionRef; readonly row: OwnerRow }
  | { readonly kind: 'refused'; readonly ref: PartitionRef; readonly position: OutboxPosition }

/** The last dead letter of a record. */
export type LetterRow = {
  readonly ref: PartitionRef
  readonly offset: number
  readonly tenant: string
  readonly open: boolean
  readonly replays: number
  readonly holdsKey: boolean
}

export type Applied = {
  readonly by: string
  readonly at: number
  /** The server's tick when it began: what it writes was written then. */
  readonly begun: number
  readonly changes: readonly Change[]
}

export type StateValue = { readonly version: number; readonly json: string; readonly partition: number }
type TopicRow = {
  readonly group: string
  readonly topic: string
  readonly topicId: string
  readonly clusterId: string
  readonly partitions: number
}

/** The committed contents of the database. Only `apply` changes them, a transaction at a time. */
export class Tables {
  readonly progress = new Map<string, ProgressRow[]>()
  /** In the order in which they were begun. */
  readonly topics: TopicRow[] = []
  /** When each was written. */
  readonly keys = new Map<string, number>()
  readonly states = new Map<string, StateValue>()
  readonly outbox = new Map<string, OutboxRow[]>()
  readonly deadLetters = new Set<string>()
  readonly letters = new Map<string, LetterRow>()
  readonly retries = new Map<string, Map<number, RetryRow>>()
  /** By partition, in the order of parking. */
  readonly parked = new Map<string, ParkedRow[]>()
  /** Those whose message Kafka has refused, by `nameOf`. */
  readonly refusedLetters = new Set<string>()
  readonly breakers = new Map<string, Map<string, BreakerRow>>()
  readonly reruns = new Map<string, Rerun>()
  readonly owners = new Map<string, OwnerRow>()
  /** When each partition's last progress was written. */
  readonly committedAt = new Map<string, number>()

  apply({ changes, begun, at }: Applied): void {
    for (const change of changes) {
      this.#apply(change, begun)
      if (change.kind === 'progress') this.committedAt.set(refKey(change.ref), at)
    }
  }

  last(ref: PartitionRef): ProgressRow | undefined {
    return this.progress.get(refKey(ref))?.at(-1)
  }

  #giveUp({ ref, offset, tenant, key }: OutcomeRow): void {
    const name = `${refKey(ref)}/${offset}`
    const { replays = 0, holdsKey = false } = this.letters.get(name) ?? {}
    this.deadLetters.add(name)
    this.letters.set(name, { ref, offset, tenant, open: true, replays, holdsKey: holdsKey || key !== null })
  }

  #apply(change: Change, begun: number): void {
    switch (change.kind) {
      case 'topic': {
        const { again, ...row } = change
        const known = this.topics.findIndex(({ group, topicId }) => group === row.group && topicId === row.topicId)
        const partitions = Math.max(this.topics[known]?.partitions ?? 0, row.partitions)
        if (known >= 0) this.topics.splice(known, 1)
        this.topics.splice(known < 0 || again ? this.topics.length : known, 0, { ...row, partitions })
        break
      }
      case 'progress':
        append(this.progress, refKey(change.ref), change.row)
        break
      case 'outcome':
        if (change.row.key !== null && change.row.kind !== 'duplicate') this.keys.set(change.row.key, begun)
        if (change.row.kind === 'failed') this.#giveUp(change.row)
        break
      case 'reset':
        this.#reset(change)
        break
      case 'state':
        this.states.set(change.name, { version: change.version, json: change.json, partition: change.partition })
        break
      case 'retry': {
        const rows = this.retries.get(refKey(change.ref)) ?? new Map<number, RetryRow>()
        this.retries.set(refKey(change.ref), rows.set(change.row.offset, change.row))
        break
      }
      case 'park': {
        const { row } = change
        const rows = (this.parked.get(refKey(change.ref)) ?? []).filter(
          (other) => !isSame(other, row.tenant, position(row)),
        )
        this.parked.set(refKey(change.ref), [...rows, row])
        break
      }
      case 'replay': {
        const { ref, origin, row } = change
        append(this.parked, refKey(ref), row)
        const name = `${refKey(origin)}/${row.record.offset}`
        const letter = this.letters.get(name)
        if (letter) this.letters.set(name, { ...letter, open: false, replays: row.at.replays })
        break
      }
      case 'unpark': {
        const rows = this.parked.get(refKey(change.ref)) ?? []
        this.parked.set(
          refKey(change.ref),
          rows.filter((row) => !isSame(row, change.tenant, change.at)),
        )
        break
      }
      case 'owner': {
        // An update that has waited for a takeover's looks at the row again, and finds another epoch.
        const key = refKey(change.ref)
        if (change.row.epoch >= (this.owners.get(key)?.epoch ?? 0)) this.owners.set(key, change.row)
        break
      }
      case 'adopt': {
        const own = this.parked.get(refKey(change.heir)) ?? []
        const left = this.parked.get(refKey(change.ref)) ?? []
        const shift = Math.min(0, ...own.map(({ at }) => at.generation)) - 1
        const adopted = left.map((row) => ({ ...row, at: { ...row.at, generation: row.at.generation + shift } }))
        this.parked.set(refKey(change.heir), [...own, ...adopted])
        this.parked.delete(refKey(change.ref))
        break
      }
      case 'unretry':
        this.retries.get(refKey(change.ref))?.delete(change.offset)
        break
      case 'breaker': {
        const { ref, change: row } = change
        const rows = this.breakers.get(refKey(ref)) ?? new Map<string, BreakerRow>()
        const key = `${row.dependency} ${row.tenant}`
        this.breakers.set(refKey(ref), rows)
        if (row.state === 'closed') rows.delete(key)
        else rows.set(key, row)
        break
      }
      case 'outbox':
        append(this.outbox, refKey(change.ref), change.row)
        break
      case 'unoutbox': {
        const rows = this.outbox.get(refKey(change.ref)) ?? []
        this.outbox.set(
          refKey(change.ref),
          rows.filter(({ position }) => isAfter(position, change.upTo)),
        )
        break
      }
      case 'refused': {
        const rows = this.outbox.get(refKey(change.ref)) ?? []
        const row = rows.find(
          ({ position }) => !isAfter(position, change.position) && !isAfter(change.position, position),
        )
        if (row?.deadLetterOf === null) this.deadLetters.add(`outbox ${row.messageId}`)
        else if (row) this.refusedLetters.add(nameOf(row))
        this.outbox.set(
          refKey(change.ref),
          rows.filter((other) => other !== row),
        )
        break
      }
    }
  }

  #reset({ ref, row, position, rerun, dropParked }: Change & { kind: 'reset' }): void {
    const key = refKey(ref)
    append(this.progress, key, row)
    const undone = (offset: number) => (rerun === null ? offset < position : offset >= position)
    const own = ({ at }: ParkedRow) =>
      at.topicId === ref.topicId && at.generation === 0 && (rerun !== null || at.replays === 0)
    if (rerun !== null || dropParked)
      this.parked.set(
        key,
        (this.parked.get(key) ?? []).filter((parked) => !own(parked) || !undone(parked.record.offset)),
      )
    for (const offset of [...(this.retries.get(key)?.keys() ?? [])])
      if (undone(offset)) this.retries.get(key)?.delete(offset)
    if (rerun === null) return
    this.reruns.set(key, { to: Math.max(rerun.to, this.reruns.get(key)?.to ?? 0), since: rerun.since })
    for (const [name, letter] of this.letters)
      if (refKey(letter.ref) === key && undone(letter.offset)) this.letters.delete(name)
  }
}

export function refKey({ group, topicId, partition }: PartitionRef): string {
  return `${group}/${topicId}/${partition}`
}

export function position({ at, record }: ParkedRow): ParkedPosition {
  return { generation: at.generation, offset: record.offset }
}

export function isSame(row: ParkedRow, tenant: string, { generation, offset }: ParkedPosition): boolean {
  return row.tenant === tenant && row.at.generation === generation && row.record.offset === offset
}

/** What a message is known by: its own id; of a dead letter, the record that it says it was. */
export function nameOf({ messageId, deadLetterOf, key, value, headers }: OutboxRow): string {
  if (deadLetterOf === null) return messageId
  const origin = ['group', 'topic', 'partition', 'offset'].map((name) =>
    textOf(headers.findLast(([header]) => textOf(header) === `tenantry-origin-${name}`)?.[1] ?? null),
  )
  const replays = textOf(headers.findLast(([header]) => textOf(header) === 'tenantry-replay-count')?.[1] ?? null)
  return `dead letter ${origin.join('/')} ${replays} ${deadLetterOf.topicId} ${textOf(key)} ${textOf(value)}`
}

function textOf(bytes: string | Uint8Array | null): string {
  return bytes === null ? 'null' : Buffer.from(bytes).toString('latin1')
}

function append<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key)
  if (list) list.push(value)
  else map.set(key, [value])
}

export function isAfter(a: OutboxPosition, b: OutboxPosition): boolean {
  return a.seq > b.seq || (a.seq === b.seq && a.index > b.index)
}
