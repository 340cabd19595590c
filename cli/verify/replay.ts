import { hash } from 'node:crypto'
import type { LogRecord } from './log.ts'
import { messageIdOf, tenantOf } from './envelope.ts'
import { idOf } from './ids.ts'
import { Messages } from './messages.ts'
import {
  type ConsumedTopic,
  type DeadLetter,
  isDone,
  isSkipped,
  type ParkedRecord,
  type PartitionProgress,
} from './progress.ts'
import type { Findings } from './report.ts'

/** One partition of one topic, by the number that Messages keeps. */
export type LogPlace = { readonly topic: string; readonly topicId: string; readonly partition: number }

/** A record, as findings name it. */
export type Where = {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly tenant: string
}

type Late = {
  readonly id: string
  readonly tenant: string
  readonly log: number
  readonly offset: number
  readonly parked: boolean
}

/** What the chain of a tenant in a partition must be. */
export type Chain = { value: string; messages: number }

export type ReplayOptions = {
  readonly mode: 'message-id' | 'offset'
  readonly tenantHeader: string | undefined
  readonly chained: boolean
  /** By place, as are the next two; what a record explains is taken out. */
  readonly deadLetters: Map<string, DeadLetter>
  readonly parked: Map<string, ParkedRecord>
  readonly retried: Set<string>
  readonly findings: Findings
}

const nothing: PartitionProgress = { watermark: 0, ahead: [], skipped: [], rerunTo: 0 }

/** Goes through the logs as an actor should have: each message once, in order, less what was given up on. */
export class Replay {
  readonly messages = new Messages()
  readonly places: LogPlace[] = []
  /** By `log number/tenant`. */
  readonly chains = new Map<string, Chain>()
  /** Tenants whose copies of one message lie in several partitions: which one was processed cannot be told. */
  readonly unclear = new Set<string>()
  records = 0
  processed = 0
  duplicates = 0
  dead = 0
  skipped = 0
  waiting = 0
  parked = 0
  retried = 0
  /** Of those processed: given up, and brought back. */
  replayed = 0
  /** Tenants with such records: where these stand in the tenant's chain cannot be told. */
  readonly outOfTurn = new Set<string>()
  readonly #options: ReplayOptions
  #log = -1
  #progress: PartitionProgress = nothing
  #begun = 0
  /** Tenants of this partition with a parked record, and the first one's offset: what comes after it waits for it. */
  readonly #behind = new Map<string, number>()
  /** Messages brought back that hold no key: a copy anywhere in the logs may be the one that is processed. */
  readonly #late: Late[] = []

  constructor(options: ReplayOptions) {
    this.#options = options
  }

  /** What follows are the records of this partition, in order. */
  enter({ topic, topicId, partitions, begun }: ConsumedTopic, partition: number): void {
    this.#log = this.places.length
    this.places.push({ topic, topicId, partition })
    this.#progress = partitions[partition] ?? nothing
    this.#begun = begun[partition] ?? 0
    this.#behind.clear()
  }

  take(record: LogRecord): void {
    const { offset } = record
    const place = this.places[this.#log]
    if (place === undefined || offset < this.#begun) return
    const { deadLetters, parked, retried, tenantHeader, findings } = this.#options
    const at = `${place.topicId}/${place.partition}/${offset}`
    const letter = deadLetters.get(at)
    deadLetters.delete(at)
    const row = parked.get(at)
    parked.delete(at)
    const done = isDone(this.#progress, offset)
    const tenant = tenantOf(record, tenantHeader)
    const where = { topic: place.topic, partition: place.partition, offset, tenant }
    if (row !== undefined) {
      if (!done) findings.add({ fault: 'invented', what: 'a parked record that is not done', ...where })
      if (letter !== undefined && !(letter.replayed && row.replayed))
        findings.add({ fault: 'duplicated', what: 'a record that is parked, and a dead letter of it', ...where })
      this.#park(record, row, where)
      return
    }
    if (done && letter === undefined && isSkipped(this.#progress, offset)) {
      this.records++
      this.skipped++
      return
    }
    if (done) {
      this.records++
      const before = this.#behind.get(tenant)
      if (before !== undefined)
        findings.add({ fault: 'reordered', what: `done although offset ${before} of the tenant is parked`, ...where })
    } else {
      this.waiting++
      if (retried.delete(at)) this.retried++
    }
    if (letter !== undefined) {
      if (!done) findings.add({ fault: 'invented', what: 'a dead letter of a record that is not done', ...where })
      else if (letter.replayed) {
        this.#bringBack(record, letter, where)
        return
      } else this.dead++
      this.#giveUp(record, letter, where)
      return
    }
    const text = messageIdOf(record)
    if (text === undefined) {
      if (!done) return
      // A tombstone that configuration lets pass leaves no trace but the progress.
      if (record.value === null) this.skipped++
      else findings.add({ fault: 'lost', what: 'a record without a message id, and no dead letter of it', ...where })
      return
    }
    const number = this.messages.add(idOf(text), tenant, this.#log, offset)
    if (!done) return
    const before = this.messages.done[number] ?? 0
    this.messages.done[number] = before + 1
    if (this.messages.log[number] !== this.#log) this.unclear.add(tenant)
    if (this.#options.mode === 'message-id' && (before > 0 || this.messages.dead[number] === 1)) this.duplicates++
    else this.#process(tenant, text)
  }

  /** Its tenant comes to it later, in order; one that was brought back has lost its place. */
  #park(record: LogRecord, { replayed, holdsKey }: ParkedRecord, { tenant, offset }: Where): void {
    this.waiting++
    this.parked++
    if (!replayed && !this.#behind.has(tenant)) this.#behind.set(tenant, offset)
    const text = messageIdOf(record)
    if (text === undefined) return
    if (replayed && !holdsKey && this.#options.mode === 'message-id') {
      this.#late.push({ id: text, tenant, log: this.#log, offset, parked: true })
      return
    }
    const number = this.messages.add(idOf(text), tenant, this.#log, offset)
    this.messages.parked[number] = 1
    if (holdsKey && this.#options.mode === 'message-id') this.messages.dead[number] = 1
  }

  /** The logs are read to their ends: what was brought back without a key is a copy, or the one that was processed. */
  finish(): void {
    for (const { id, tenant, log, offset, parked } of this.#late.splice(0)) {
      const number = this.messages.add(idOf(id), tenant, log, offset)
      if (parked) {
        this.messages.parked[number] = 1
        continue
      }
      const before = this.messages.done[number] ?? 0
      this.messages.done[number] = before + 1
      // Of a copy, too: which of the two has the row cannot be told.
      this.messages.replayed[number] = 1
      if (before > 0 || this.messages.dead[number] === 1) this.duplicates++
      else this.#succeed()
    }
  }

  /** It was given up, brought back, and neither waits nor was given up again: so it ended well, later than its place says. */
  #bringBack(record: LogRecord, letter: DeadLetter, where: Where): void {
    this.outOfTurn.add(where.tenant)
    const text = messageIdOf(record)
    if (text === undefined) {
      this.#options.findings.remark(
        'Records that were replayed have no message id that can be read here: what they did cannot be checked.',
      )
      this.#succeed()
      return
    }
    if (this.#options.mode === 'message-id' && !letter.holdsKey) {
      const { tenant, offset } = where
      this.#late.push({ id: text, tenant, log: this.#log, offset, parked: false })
      return
    }
    const number = this.messages.add(idOf(text), where.tenant, this.#log, where.offset)
    if (this.#options.mode === 'message-id') this.#refuseSecond(number, text, where)
    this.messages.done[number] = (this.messages.done[number] ?? 0) + 1
    this.messages.replayed[number] = 1
    this.#succeed()
  }

  #succeed(): void {
    this.replayed++
    this.processed++
  }

  #process(tenant: string, id: string): void {
    this.processed++
    if (!this.#options.chained) return
    const key = `${this.#log}/${tenant}`
    const chain = this.chains.get(key)
    if (chain === undefined) this.chains.set(key, { value: hash('sha256', id, 'hex'), messages: 1 })
    else {
      chain.value = hash('sha256', chain.value + id, 'hex')
      chain.messages++
    }
  }

  /** What holds no key may come again, as often as it likes. */
  #giveUp(record: LogRecord, letter: DeadLetter, where: Where): void {
    const text = letter.holdsKey && this.#options.mode === 'message-id' ? messageIdOf(record) : undefined
    if (text === undefined) return
    const number = this.messages.add(idOf(text), where.tenant, this.#log, where.offset)
    if (!this.#refuseSecond(number, text, where)) this.messages.dead[number] = 1
  }

  /** A key lets a message be given up only when no copy of it was processed before. */
  #refuseSecond(number: number, messageId: string, where: Where): boolean {
    if ((this.messages.done[number] ?? 0) === 0) return false
    const what = 'a dead letter of a message that was processed before'
    this.#options.findings.add({ fault: 'duplicated', what, messageId, ...where })
    return true
  }

  /** Rows that a message's effects must have. */
  expected(number: number): number {
    const done = this.messages.done[number] ?? 0
    if (this.#options.mode === 'offset') return done
    return done > 0 && this.messages.dead[number] === 0 ? 1 : 0
  }

  /** What a finding says of a message. */
  where(number: number): Where {
    const place = this.places[this.messages.log[number] ?? 0]
    return {
      topic: place?.topic ?? '',
      partition: place?.partition ?? 0,
      offset: this.messages.offset[number] ?? 0,
      tenant: this.messages.tenant(number),
    }
  }
}
