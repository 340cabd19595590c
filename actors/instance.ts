import { decodeEnvelope, type Envelope } from '../core/envelope.ts'
import { errorOf, TenantryError } from '../core/errors.ts'
import { Fifo } from '../core/fifo.ts'
import { messageKey } from '../core/message-id.ts'
import type { MessageKey } from '../core/message-key.ts'
import type { Decision, Done, Identity, Opening } from '../core/workers.ts'
import { type ContextServices, type IncomingRecord, type Mailbox, MessageContext } from './context.ts'
import type { Actor } from './define-actor.ts'
import { failureOf, permanentFailure } from './failure.ts'
import { type LoadedActor, schemaFailure, type Validation } from './loaded-actor.ts'
import type { RecentIds } from './recent-ids.ts'
import type { Runner, Running } from './running.ts'
import { isPromise, openState, unreadable, writeState } from './state.ts'
import { Account, type Taker, type Turns } from './turns.ts'

/** Takes a decision, which will be in a commit of this lane. */
export type Decide = (decision: Decision, lane: number) => void

/** What the instances of a thread share. */
export type InstanceThread = {
  readonly services: ContextServices
  readonly decide: Decide
  /** What the thread's instances with dependencies have done. */
  readonly recent: RecentIds
  readonly running: Running
  readonly turns: Turns
  /** What the configuration gives a tenant. */
  readonly weightOf: (tenant: string) => number
  /** How long a handler may take where its actor does not say. */
  readonly timeoutMs: number
  /** Is told of each message before anything of the actor's sees it, so that it can be named if the thread does not survive it. */
  readonly began: ((mailbox: number, offset: number, identity: Identity) => void) | undefined
}

const outboxInOffsetMode =
  'an outbox of tenantry’s has sent this message and may send it twice, which offset mode would not see'

const none: ReadonlySet<IncomingRecord> = new Set()

/**
 * One mailbox's run: its records strictly one after the other, each answered by one decision, until one fails or the
 * run ends. A handler that returns no promise costs none.
 */
export class Instance implements Mailbox, Runner, Taker {
  readonly mailbox: number
  readonly run: number
  readonly tenant: string
  readonly weight: number
  readonly account = new Account()
  state: unknown = undefined
  readonly #loaded: LoadedActor
  readonly #thread: InstanceThread
  readonly #lane: number
  /** Records that wait, and whose messages were committed before. Two may have one offset: what earlier topics left does. */
  #known: Set<IncomingRecord> | undefined
  readonly #waiting = new Fifo<IncomingRecord>()
  #busy = false
  #ended = false
  /** Its place among what the thread executes; -1 while it executes nothing. */
  #place = -1
  /** The state is being made ready by the actor's own code. */
  #opening = false
  /** The record that waits for a promise. */
  #record: IncomingRecord | undefined
  #envelope: Envelope | undefined
  /** Raised with each promise that is waited for, and when it has settled: what is no promise may settle twice. */
  #waits = 0
  /** The record's time is over. */
  #late: TenantryError | undefined
  /** It was given up although its handler runs. */
  #abandoned = false
  #unreadable: string | undefined
  /** Of the message that runs now; a slow handler of a mailbox taken away is told through it. */
  #context: MessageContext | undefined

  constructor(mailbox: number, run: number, opening: Opening, loaded: LoadedActor, thread: InstanceThread) {
    this.#lane = opening.lane
    this.mailbox = mailbox
    this.run = run
    this.tenant = opening.tenant
    this.weight = thread.weightOf(opening.tenant)
    this.#loaded = loaded
    this.#thread = thread
    this.#open(opening)
  }

  get actor(): Actor {
    return this.#loaded.actor
  }

  get calls(): boolean {
    return this.#loaded.calls
  }

  get timeoutMs(): number {
    return this.#loaded.actor.timeoutMs ?? this.#thread.timeoutMs
  }

  /** The key of a record's message; null where it has none, or cannot be read. */
  keyOf(record: IncomingRecord): MessageKey | null {
    try {
      return this.#key(decodeEnvelope(record, this.tenant, this.#thread.services.limits))
    } catch {
      return null
    }
  }

  /**
   * Takes records in offset order, after those it has, to be run when it is this mailbox's turn. `known` are those whose
   * messages were committed before.
   */
  accept(records: readonly IncomingRecord[], known: ReadonlySet<IncomingRecord> = none): void {
    if (this.#ended) return
    if (known.size > 0) this.#known = new Set([...(this.#known ?? []), ...known])
    for (const record of records) this.#waiting.push(record)
    if (!this.#busy) this.#thread.turns.ready(this)
  }

  get reading(): boolean {
    return this.#context?.reading === true
  }

  /**
   * Tells the handler to end, and the next time gives it up: its context is dead, so nothing that it may still do is
   * heard, and the record has failed. Until then no other attempt begins, as most handlers do as they are told.
   */
  late(): void {
    if (this.#late === undefined) {
      this.#late = new TenantryError(
        'TENANTRY_HANDLER_TIMEOUT',
        `the handler had not ended after ${this.timeoutMs} ms`,
        { timeoutMs: this.timeoutMs, tenant: this.tenant },
      )
      this.#context?.close(this.#late)
      return
    }
    this.#abandoned = true
    this.#thread.running.abandoned()
    if (this.#opening) this.#opened(undefined, unreadable(this.#late))
    else if (this.#record !== undefined) this.#fail(this.#record, this.#envelope, this.#late)
  }

  /** The run is over: what waits is dropped, what runs is told and not heard any more. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#leave()
    this.#waiting.truncate(0)
    this.#context?.close(
      new TenantryError(
        'TENANTRY_MAILBOX_GONE',
        'the mailbox was taken away while the handler ran: its partition was revoked or its run ended',
        { tenant: this.tenant },
      ),
    )
  }

  #open(opening: Opening): void {
    const definition = this.actor.state
    if (definition === undefined) return
    this.#begin(-1)
    try {
      const state = openState(definition, opening.state)
      if (isPromise(state)) {
        this.#opening = true
        this.#hold()
        state.then(
          (value) => this.#settledOpen(value, undefined),
          (error: unknown) => this.#settledOpen(undefined, unreadable(error)),
        )
        return
      }
      this.state = state
    } catch (error) {
      this.#unreadable = unreadable(error)
    }
    this.#leave()
  }

  #settledOpen(state: unknown, problem: string | undefined): void {
    if (this.#opening) this.#opened(state, problem)
    else this.#isOver()
  }

  #opened(state: unknown, problem: string | undefined): void {
    this.#opening = false
    this.#late = undefined
    this.state = state
    this.#unreadable = problem
    this.#busy = false
    this.#goOn()
  }

  /** Code of the actor's runs from here on, for the record at `offset`. */
  #begin(offset: number): void {
    const { running } = this.#thread
    if (this.#place < 0) this.#place = running.enter(this)
    running.begin(this.#place, offset)
  }

  /** It waits for a promise. */
  #hold(): void {
    this.#busy = true
    this.#thread.running.wait(this.#place)
  }

  #leave(): void {
    this.#thread.running.end(this.#place)
    this.#place = -1
  }

  /** Runs one record. */
  step(): boolean {
    if (this.#ended || this.#busy) return false
    const record = this.#waiting.shift()
    if (record !== undefined) this.#step(record)
    // Read anew: a record may have ended the run, or begun to wait.
    return this.#hasMore()
  }

  rest(): void {
    this.#leave()
  }

  #hasMore(): boolean {
    if (this.#ended || this.#busy) return false
    if (this.#waiting.length > 0) return true
    this.#leave()
    return false
  }

  /** After a promise. */
  #goOn(): void {
    if (this.#hasMore()) this.#thread.turns.resume(this)
  }

  /** Decodes, validates and handles one record; `#busy` says afterwards whether it is waiting for a promise. */
  #step(record: IncomingRecord): void {
    let envelope: Envelope | undefined
    this.#begin(record.offset)
    try {
      envelope = decodeEnvelope(record, this.tenant, this.#thread.services.limits)
      this.#thread.began?.(this.mailbox, record.offset, this.#identity(envelope))
      if (this.calls && this.#isCopy(record, envelope)) return this.#duplicate(record, envelope)
      if (this.#unreadable !== undefined)
        return this.#failed(record, envelope, permanentFailure('state_unreadable', this.#unreadable))
      if (record.headers.sentByOutbox && this.actor.idempotency === 'offset')
        return this.#failed(record, envelope, permanentFailure('outbox_in_offset_mode', outboxInOffsetMode))
      const result = this.#loaded.schemaOf(envelope)['~standard'].validate(envelope.payload)
      if (isPromise(result))
        return this.#wait(result, record, envelope, (value, known) => this.#handle(record, known, value))
      this.#handle(record, envelope, result)
    } catch (error) {
      this.#fail(record, envelope, error)
    }
  }

  #handle(record: IncomingRecord, envelope: Envelope, result: Validation): void {
    if (result.issues !== undefined) throw schemaFailure(result.issues)
    const context = new MessageContext(this.#thread.services, this, envelope, record)
    this.#context = context
    const returned = this.actor.receive(withPayload(envelope, result.value), context)
    if (isPromise(returned)) this.#wait(returned, record, envelope, () => this.#finish(record, envelope, context))
    else this.#finish(record, envelope, context)
  }

  /** Goes on with `then` when the promise has settled, unless the run has ended meanwhile. */
  #wait<T>(
    promise: PromiseLike<T>,
    record: IncomingRecord,
    envelope: Envelope,
    then: (value: T, envelope: Envelope) => void,
  ): void {
    this.#record = record
    this.#envelope = envelope
    this.#hold()
    const wait = ++this.#waits
    const settle = (value: T) => {
      if (!this.#hears(wait)) return
      this.#begin(record.offset)
      try {
        if (this.#late !== undefined) throw this.#late
        then(value, envelope)
      } catch (error) {
        this.#fail(record, envelope, error)
      }
      this.#goOn()
    }
    const fail = (error: unknown) => {
      if (this.#hears(wait)) this.#fail(record, envelope, this.#late ?? error)
    }
    try {
      promise.then(settle, fail)
    } catch (error) {
      fail(error)
    }
  }

  /** What is waited for has settled: whether that is heard, as it is the first time, and while the run goes on. */
  #hears(wait: number): boolean {
    if (this.#waits !== wait) return false
    this.#waits++
    if (this.#isOver()) return false
    this.#busy = false
    return true
  }

  /** Whether what was waited for is heard no more. */
  #isOver(): boolean {
    if (this.#abandoned) this.#thread.running.returned()
    this.#abandoned = false
    return this.#ended
  }

  /**
   * Whether the message was committed before, or done by this run. The latter may be relied upon although it is not
   * committed yet: a run is only ever taken back from some decision on to its end (`Mailbox.raiseRun`), so a copy's
   * decision never outlives the one that it rests on, and a mailbox's decisions are committed in their order, or
   * together. If the original becomes a dead letter instead, that is a new run, which handles the copy anew.
   */
  #isCopy(record: IncomingRecord, envelope: Envelope): boolean {
    return this.#known?.delete(record) === true || this.#thread.recent.has(this.#nameInRun(envelope))
  }

  #nameInRun(envelope: Envelope): string {
    return `${this.mailbox} ${this.run} ${messageKey(envelope.message_id).uuid}`
  }

  #identity(envelope: Envelope): Identity {
    const { message_id: messageId, type, trace_id: traceId } = envelope
    return { key: this.#key(envelope), messageId, type, traceId }
  }

  #duplicate(record: IncomingRecord, { message_id: messageId, type, trace_id: traceId }: Envelope): void {
    this.#decide(record, { kind: 'duplicate', messageId, type, traceId })
  }

  #finish(record: IncomingRecord, envelope: Envelope, context: MessageContext): void {
    context.close()
    if (context.refusal !== undefined) throw context.refusal
    const definition = this.actor.state
    const state: Done['state'] =
      definition === undefined
        ? null
        : { version: definition.version, json: writeState(this.state, this.#thread.services.limits) }
    this.#context = undefined
    if (this.calls) this.#thread.recent.add(this.#nameInRun(envelope))
    this.#decide(record, {
      kind: 'done',
      key: this.#key(envelope),
      effects: context.effects,
      publishes: context.publishes,
      packed: null,
      stateful: state !== null,
      state,
      type: envelope.type,
      traceId: envelope.trace_id,
      messageId: envelope.message_id,
      bytes: context.bytes + (state?.json.length ?? 0),
      served: context.served,
    })
  }

  #fail(record: IncomingRecord, envelope: Envelope | undefined, thrown: unknown): void {
    this.#context?.close(errorOf(thrown))
    this.#failed(record, envelope, failureOf(thrown, this.#context?.calledFor(thrown)))
  }

  #failed(record: IncomingRecord, envelope: Envelope | undefined, failure: ReturnType<typeof failureOf>): void {
    const served = this.#context?.served ?? 0
    this.#context = undefined
    this.#ended = true
    this.#leave()
    this.#waiting.truncate(0)
    this.#decide(record, {
      kind: 'failed',
      failure,
      ...(envelope === undefined ? nobody : this.#identity(envelope)),
      // Its producer may mend the message and send it again under its id.
      ...(failure.kind === 'bad-record' && { key: null }),
      served,
    })
  }

  #decide({ offset }: IncomingRecord, outcome: Decision['outcome']): void {
    this.#thread.decide({ mailbox: this.mailbox, run: this.run, offset, outcome }, this.#lane)
  }

  #key(envelope: Envelope): MessageKey | null {
    return this.actor.idempotency === 'offset' ? null : messageKey(envelope.message_id)
  }
}

const nobody: Identity = { key: null, messageId: '', type: '', traceId: '' }

function withPayload(envelope: Envelope, payload: unknown): Envelope {
  if (payload === envelope.payload) return envelope
  // Spelled out: spreading costs three times as much.
  return {
    message_id: envelope.message_id,
    type: envelope.type,
    tenant_id: envelope.tenant_id,
    trace_id: envelope.trace_id,
    causation_id: envelope.causation_id,
    occurred_at: envelope.occurred_at,
    schema_version: envelope.schema_version,
    payload,
  }
}
