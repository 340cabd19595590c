import type { Clock } from '../core/clock.ts'
import type { Effect } from '../core/effects.ts'
import type { Envelope } from '../core/envelope.ts'
import { TenantryError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Facts } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { loggableFacts } from '../core/loggable.ts'
import type { MessageHeaders } from '../core/message-headers.ts'
import { type Derivation, deriveId, messageKey, timeOfId } from '../core/message-id.ts'
import { afterYear9999 } from '../core/timestamp.ts'
import { callDependency } from './calls.ts'
import type { Actor, AnyContext, Call, Outgoing } from './define-actor.ts'
import { outgoing } from './outgoing.ts'
import { statement } from './statement.ts'
import type { Row, TableSource } from './tables.ts'

/** A record on its way through a worker: a place in the frame that brought it. */
export type IncomingRecord = {
  readonly offset: number
  /** Milliseconds since 1970, -1 where there is none. */
  readonly timestamp: number
  readonly bytes: Buffer
  readonly start: number
  /** -1 for a null value. */
  readonly end: number
  readonly headers: MessageHeaders
  /** The value was found to be UTF-8 together with the rest of its frame. */
  readonly knownUtf8: boolean
}

/** Reads for `ctx.query`, as one tenant, in a transaction that cannot write. */
export interface Reader {
  query(tenant: string, text: TemplateStringsArray, values: readonly unknown[]): Promise<readonly object[]>
}

/** What the contexts of a thread share. */
export type ContextServices = {
  readonly clock: Clock
  readonly log: Log
  readonly limits: Limits
  readonly tables: TableSource
  readonly reader: Reader
}

/** What a context needs of the mailbox it belongs to. */
export type Mailbox = {
  readonly actor: Actor
  readonly tenant: string
  state: unknown
}

/** One message's handle on the world. It records effects; nothing of it works once the handler has returned. */
export class MessageContext implements AnyContext {
  readonly effects: Effect[] = []
  /** Set by what must fail the message even if the handler swallows the error. */
  refusal: TenantryError | undefined
  readonly #services: ContextServices
  readonly #mailbox: Mailbox
  readonly #envelope: Envelope
  readonly #record: IncomingRecord
  #open = true
  #bytes = 0
  #published = 0
  /** Calls so far, by dependency. */
  #called: Map<string, number> | undefined
  #served = 0
  #reads = 0
  #uuid = ''
  #abort: AbortController | undefined
  /** What came out of its calls, by the dependency that was called. */
  #thrown: Map<unknown, string> | undefined

  constructor(services: ContextServices, mailbox: Mailbox, envelope: Envelope, record: IncomingRecord) {
    this.#services = services
    this.#mailbox = mailbox
    this.#envelope = envelope
    this.#record = record
  }

  /** Ends the context: the handler has returned, failed, or lost its mailbox (`reason`). */
  close(reason?: Error): void {
    this.#open = false
    if (reason !== undefined) this.#abort?.abort(reason)
  }

  get tenantId(): string {
    this.#mustBeOpen()
    return this.#mailbox.tenant
  }

  get now(): Date {
    this.#mustBeOpen()
    return new Date(this.#timeMs)
  }

  get raw(): Uint8Array {
    this.#mustBeOpen()
    const { bytes, start, end } = this.#record
    return end < 0 ? new Uint8Array(0) : new Uint8Array(bytes.subarray(start, end))
  }

  get signal(): AbortSignal {
    this.#mustBeOpen()
    return this.#controller().signal
  }

  get log(): Log {
    this.#mustBeOpen()
    return taggedLog(this.#services.log, {
      group: this.#mailbox.actor.group,
      actor: this.#mailbox.actor.name,
      tenant: this.#mailbox.tenant,
      message_id: this.#envelope.message_id,
      type: this.#envelope.type,
    })
  }

  get state(): unknown {
    this.#mustBeOpen()
    this.#mustHave(this.#mailbox.actor.state !== undefined, 'ctx.state needs a state in the actor’s definition')
    return this.#mailbox.state
  }

  set state(value: unknown) {
    this.#mustBeOpen()
    this.#mustHave(this.#mailbox.actor.state !== undefined, 'ctx.state needs a state in the actor’s definition')
    this.#mailbox.state = value
  }

  id(n: number): string {
    this.#mustBeOpen()
    if (!Number.isSafeInteger(n) || n < 0)
      throw new TenantryError('TENANTRY_BAD_VALUE', 'ctx.id takes a whole number from 0')
    return this.#derive('id', n)
  }

  insert(table: string, row: Row): void {
    this.#mustBeOpen()
    this.#row(table, row, undefined)
  }

  upsert(table: string, row: Row, options: { readonly conflict: string | readonly string[] }): void {
    this.#mustBeOpen()
    this.#row(table, row, conflictOf(table, options))
  }

  sql(text: TemplateStringsArray, ...values: readonly unknown[]): void {
    this.#mustBeOpen()
    const effect = statement(text, values, this.#services.limits.maxDepth)
    let bytes = 0
    for (const part of effect.text) bytes += part.length
    for (const value of effect.values) bytes += sizeOf(value)
    this.#add(effect, bytes)
  }

  /** Of the effects, about. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether messages are among the effects. */
  get publishes(): boolean {
    return this.#published > 0
  }

  /** The dependencies that have served the handler, as bits by their place among the actor's. */
  get served(): number {
    return this.#served
  }

  publish(topic: string, message: Outgoing): void {
    this.#mustBeOpen()
    if (!isObject(message))
      throw new TenantryError('TENANTRY_BAD_OUTGOING', 'ctx.publish takes a topic and a message: type, payload')
    const effect = outgoing(
      topic,
      message,
      {
        group: this.#mailbox.actor.group,
        tenant: this.#mailbox.tenant,
        cause: this.#envelope,
        headers: this.#record.headers,
        causeUuid: this.#canonicalUuid(),
        now: new Date(this.#timeMs),
        derivedId: message.messageId === undefined ? this.#derive('message', this.#published) : '',
      },
      this.#services.limits,
    )
    this.#published++
    this.#add(effect, effect.value.length + effect.key.length)
  }

  async call<R>(dependency: string, fn: (call: Call) => R | PromiseLike<R>): Promise<R> {
    this.#mustBeOpen()
    const { dependencies } = this.#mailbox.actor
    // A name that a message brought may be one that every object has.
    const options = Object.hasOwn(dependencies, dependency) ? dependencies[dependency] : undefined
    if (options === undefined) {
      const known = Object.keys(dependencies).join(', ')
      throw new TenantryError(
        'TENANTRY_UNKNOWN_DEPENDENCY',
        `${dependency} is not among the actor's dependencies (${known})`,
        { dependency },
      )
    }
    // By dependency, so that one that a later version of the actor calls first does not take the key of another.
    this.#called ??= new Map()
    const index = this.#called.get(dependency) ?? 0
    this.#called.set(dependency, index + 1)
    // A copy that its producer sent later has another time than its original, and must call by the same key.
    const idempotencyKey = this.#derive(`call ${dependency}`, index, 0)
    const mailbox = this.#controller().signal
    const { clock } = this.#services
    try {
      const result = await callDependency(
        { clock, dependency, timeoutMs: options.timeoutMs, mailbox, idempotencyKey },
        fn,
      )
      this.#served |= 1 << Object.keys(dependencies).indexOf(dependency)
      return result
    } catch (error) {
      this.#thrown ??= new Map()
      this.#thrown.set(error, dependency)
      throw error
    }
  }

  async query<R extends object = Record<string, unknown>>(
    text: TemplateStringsArray,
    ...values: readonly unknown[]
  ): Promise<R[]>
  async query(text: TemplateStringsArray, ...values: readonly unknown[]): Promise<readonly object[]> {
    this.#mustBeOpen()
    this.#mustHave(
      this.#mailbox.actor.consistency === 'serial',
      "ctx.query needs consistency: 'serial', as only then are this tenant's earlier effects there to be read",
    )
    this.#reads++
    try {
      return await this.#services.reader.query(this.#mailbox.tenant, text, values)
    } finally {
      this.#reads--
    }
  }

  /** The dependency out of whose call this came. Another message's call may have thrown the same. */
  calledFor(thrown: unknown): string | undefined {
    return this.#thrown?.get(thrown)
  }

  /** Whether it waits for PostgreSQL. */
  get reading(): boolean {
    return this.#reads > 0
  }

  #mustBeOpen(): void {
    if (this.#open) return
    throw new TenantryError(
      'TENANTRY_CONTEXT_CLOSED',
      'ctx was used after its handler had returned, failed or lost its mailbox: await everything that the handler starts',
      { actor: this.#mailbox.actor.name, type: this.#envelope.type },
    )
  }

  #mustHave(has: boolean, sentence: string): void {
    if (!has) throw new TenantryError('TENANTRY_NOT_DECLARED', sentence, { actor: this.#mailbox.actor.name })
  }

  /**
   * A producer that counts microseconds writes a later one than what is made of it could hold, or than a dead letter keeps:
   * brought back, the record has the same.
   */
  get #timeMs(): number {
    return Math.min(Math.max(0, this.#record.timestamp), afterYear9999 - 1)
  }

  #controller(): AbortController {
    this.#abort ??= new AbortController()
    return this.#abort
  }

  #canonicalUuid(): string {
    if (this.#uuid === '') this.#uuid = messageKey(this.#envelope.message_id).uuid
    return this.#uuid
  }

  /** `time` is for a message whose id has none. */
  #derive(use: Derivation['use'], index: number, time = this.#timeMs): string {
    const own = timeOfId(this.#envelope.message_id)
    return deriveId({
      use,
      group: this.#mailbox.actor.group,
      actor: this.#mailbox.actor.name,
      tenant: this.#mailbox.tenant,
      uuid: this.#canonicalUuid(),
      index,
      time: own < 0 ? time : own,
    })
  }

  #row(table: string, row: Row, conflict: readonly string[] | undefined): void {
    const { tables } = this.#mailbox.actor
    if (typeof table !== 'string' || !isObject(row))
      throw new TenantryError('TENANTRY_BAD_VALUE', 'a row needs the name of its table and an object of its columns')
    if (tables !== undefined && !tables.includes(table)) {
      throw new TenantryError(
        'TENANTRY_NOT_DECLARED',
        `${table} is not among the actor's tables (${tables.join(', ')})`,
        { table },
      )
    }
    const effect = this.#services.tables.get(table).write(row, this.#mailbox.tenant, conflict)
    let bytes = 0
    for (const value of effect.values) bytes += sizeOf(value)
    this.#add(effect, bytes)
  }

  #add(effect: Effect, bytes: number): void {
    const { maxEffects, maxEffectBytes } = this.#services.limits
    this.#bytes += bytes
    if (this.effects.length >= maxEffects || this.#bytes > maxEffectBytes) {
      this.refusal = new TenantryError(
        'TENANTRY_TOO_MANY_EFFECTS',
        `a message may have ${maxEffects} effects of ${maxEffectBytes} bytes together`,
        { maxEffects, maxEffectBytes },
      )
      throw this.refusal
    }
    this.effects.push(effect)
  }
}

/** What types promise, JavaScript may break: without its conflict an upsert would be an insert. */
function conflictOf(table: string, options: unknown): readonly string[] {
  const conflict: unknown = isObject(options) && 'conflict' in options ? options.conflict : undefined
  const columns: readonly unknown[] = Array.isArray(conflict) ? conflict : [conflict]
  if (columns.every((column) => typeof column === 'string')) return columns
  throw new TenantryError(
    'TENANTRY_BAD_CONFLICT',
    `an upsert into ${table} needs { conflict }: the columns of a unique constraint`,
    { table },
  )
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** Bytes as UTF-8; short texts count their characters, which is near enough for a limit of megabytes. */
function sizeOf(text: string | null): number {
  if (text === null) return 0
  return text.length > 256 ? Buffer.byteLength(text) : text.length
}

/** The tags come first, as only so many fields are kept, and an actor's fields replace none of them. */
function taggedLog(log: Log, tags: Facts): Log {
  const tagged = (fields: unknown): Facts => ({ ...tags, ...loggableFacts(fields), ...tags })
  return {
    debug: (event, fields, sentence) => log.debug(event, tagged(fields), sentence),
    info: (event, fields, sentence) => log.info(event, tagged(fields), sentence),
    warn: (event, fields, sentence) => log.warn(event, tagged(fields), sentence),
    error: (event, fields, sentence) => log.error(event, tagged(fields), sentence),
  }
}
