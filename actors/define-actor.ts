import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Envelope } from '../core/envelope.ts'
import { TenantryError } from '../core/errors.ts'
import { groupNameForm, topicNameForm } from '../core/kafka/names.ts'
import type { Log } from '../core/log.ts'
import { didYouMean } from '../core/nearest-name.ts'
import { initialProblem } from './state.ts'
import type { Row } from './tables.ts'

export { TenantryError } from '../core/errors.ts'
export { Rejected } from './failure.ts'

/** Any Standard Schema: zod, valibot, arktype, … */
export type Schema = StandardSchemaV1
type Output<S extends Schema> = StandardSchemaV1.InferOutput<S>

/**
 * Schemas of payloads by message type. `'campaign.create'` is schema_version 1 of that type, `'campaign.create@2'` is
 * version 2. A type or version that is not here is a bad record.
 */
export type MessageSchemas = Readonly<Record<string, Schema>>

type TypeOf<Key extends string> = Key extends `${infer Type}@${number}` ? Type : Key
type VersionOf<Key extends string> = Key extends `${string}@${infer Version extends number}` ? Version : 1

/** What `receive` is given: the envelope, with the payload as its schema gave it. `type` narrows `payload`. */
export type Message<Messages extends MessageSchemas> = {
  [Key in keyof Messages & string]: Omit<Envelope, 'type' | 'schema_version' | 'payload'> & {
    readonly type: TypeOf<Key>
    readonly schema_version: VersionOf<Key>
    readonly payload: Output<Messages[Key]>
  }
}[keyof Messages & string]

/** An actor's durable state: one value for each tenant, which JSON can hold. */
export type StateDefinition<S extends Schema> = {
  /** Raise it when the schema changes so that old states need `migrate`. A whole number from 1. */
  readonly version: number
  /** Every state that is loaded must pass it. */
  readonly schema: S
  /** Where a tenant begins; each tenant gets its own copy. Written as JSON and read again it must pass the schema. */
  readonly initial: Output<NoInfer<S>>
  /** Makes a state of this version from one of an older `version`. Without it an older state stops its tenant. */
  readonly migrate?: (state: unknown, version: number) => unknown
}

export type DependencyOptions = {
  /** A call that takes longer is aborted and fails. Milliseconds. */
  readonly timeoutMs: number
}

/** Pauses before a message whose handler failed is tried again, in milliseconds; past the last one it is a dead letter. */
export type RetryOptions = {
  /** Configuration's `retry.delays` when left out; none: never tried again. */
  readonly delaysMs?: readonly number[]
  /** The same for some message types. */
  readonly types?: Readonly<Record<string, readonly number[]>>
}

/** `pipelined` runs ahead of the commits and cannot read; `serial` gets a record only after the last one's commit. */
export type Consistency = 'pipelined' | 'serial'

/** `message-id`: effects land once for each message_id. `offset`: faster, for producers that never send twice. */
export type Idempotency = 'message-id' | 'offset'

/** A message to be sent once the effects of this one are committed. */
export type Outgoing = {
  readonly type: string
  /** What JSON can hold; a bigint is written as its digits. */
  readonly payload: unknown
  /** The Kafka key; the tenant when left out, which keeps the tenant's messages in order. */
  readonly key?: string
  /** Derived from the incoming message when left out, so that a rerun sends the same. */
  readonly messageId?: string
  /** 1 when left out. */
  readonly schemaVersion?: number
  /** `json` when left out; `cloudevents` is CloudEvents 1.0 in binary mode. */
  readonly format?: 'json' | 'msgpack' | 'cloudevents'
}

/** What every actor can do. Nothing of it works after the handler has returned. */
export interface BaseContext<Table extends string = string> {
  readonly tenantId: string
  /** The record's time, the same however often the message runs: never the clock's. */
  readonly now: Date
  /** The record's value as it came. A copy. */
  readonly raw: Uint8Array
  /** Aborts when the handler's time is over, or its mailbox is taken away while it runs. */
  readonly signal: AbortSignal
  readonly log: Log
  /** The n-th id that belongs to this message: the same UUID however often it runs. */
  id(n: number): string
  /** A row. Rows of many messages are written by one statement: a tenth of the cost of `sql`. */
  insert(table: Table, row: Row): void
  /** A row that replaces the one with the same values in the `conflict` columns. */
  upsert(table: Table, row: Row, options: { readonly conflict: string | readonly string[] }): void
  /** A statement of your own (select, insert, update, delete, merge), run in this message's turn. */
  sql(text: TemplateStringsArray, ...values: readonly unknown[]): void
  publish(topic: string, message: Outgoing): void
}

export interface StateContext<State> {
  /** This tenant's state; change it in place or replace it. It is committed with the effects. */
  state: State
}

export interface QueryContext {
  /** Rows as they are now, this tenant's earlier effects included. Read-only. */
  query<R extends object = Record<string, unknown>>(
    text: TemplateStringsArray,
    ...values: readonly unknown[]
  ): Promise<R[]>
}

/** What a call to a dependency is given. */
export type Call = {
  /** Aborts at the deadline, at the handler's own, and when the mailbox is taken away. */
  readonly signal: AbortSignal
  /** The same however often the message runs or is sent: hand it to the service, as a call may happen twice. */
  readonly idempotencyKey: string
}

export interface CallContext<Dependency extends string> {
  /** Calls a declared dependency under its deadline. */
  call<R>(dependency: Dependency, fn: (call: Call) => R | PromiseLike<R>): Promise<R>
}

/** What this actor's `receive` can do: the types leave out what would fail. */
export type Context<
  State extends Schema | undefined,
  Dependency extends string,
  C extends Consistency,
  Table extends string,
> = BaseContext<Table> &
  (State extends Schema ? StateContext<Output<State>> : unknown) &
  ([Dependency] extends [never] ? unknown : CallContext<Dependency>) &
  (C extends 'serial' ? QueryContext : unknown)

export type ActorDefinition<
  Messages extends MessageSchemas,
  State extends Schema | undefined,
  Dependencies extends Readonly<Record<string, DependencyOptions>>,
  C extends Consistency,
  Tables extends readonly string[],
> = {
  readonly group: string
  readonly topic: string
  /** Names the actor in its state, logs and metrics; the topic when left out. Renaming it loses sight of its states. */
  readonly name?: string
  readonly messages: Messages
  readonly state?: State extends Schema ? StateDefinition<State> : never
  /** What `ctx.call` may call. */
  readonly dependencies?: Dependencies
  readonly retry?: RetryOptions
  readonly consistency?: C
  readonly idempotency?: Idempotency
  /**
   * How long a message may wait for promises before it counts as failed, in milliseconds; `workers.handlerTimeout` when
   * left out. The time that `ctx.query` waits does not count.
   */
  readonly timeoutMs?: number
  /** The tables that `insert` and `upsert` write. Checked at start; without it a wrong name is found when it is used. */
  readonly tables?: Tables
  readonly receive: (
    message: Message<Messages>,
    ctx: Context<State, keyof Dependencies & string, C, Tables[number]>,
  ) => void | Promise<void>
}

/** An actor as the runtime sees it, its types behind it. */
export type Actor = {
  readonly [actorMark]: true
  readonly name: string
  readonly group: string
  readonly topic: string
  readonly messages: MessageSchemas
  readonly state: StateDefinition<Schema> | undefined
  readonly dependencies: Readonly<Record<string, DependencyOptions>>
  readonly retry: RetryOptions
  readonly consistency: Consistency
  readonly idempotency: Idempotency
  /** Undefined where configuration decides. */
  readonly timeoutMs: number | undefined
  readonly tables: readonly string[] | undefined
  // A method, so that an actor of narrower messages is an actor: the runtime has checked each message by its schema.
  receive(message: AnyMessage, ctx: AnyContext): unknown
}

export type AnyMessage = Omit<Envelope, 'payload'> & { readonly payload: unknown }
export type AnyContext = BaseContext & StateContext<unknown> & QueryContext & CallContext<string>

/** Marks an actor across copies of this module: a user's `tenantry` may be another than the daemon's. */
export const actorMark: unique symbol = Symbol.for('tenantry.actor')

/**
 * Defines the actor of a group for a topic: the default export of a file in the actors' folder.
 * Throws TenantryError TENANTRY_BAD_ACTOR when the definition cannot work.
 *
 * ```ts
 * export default defineActor({
 *   group: 'actuator',
 *   topic: 'core.commands.v1',
 *   messages: { 'campaign.create': z.object({ campaign_id: z.string(), budget: z.number().positive() }) },
 *   receive(message, ctx) {
 *     ctx.insert('campaigns', { id: message.payload.campaign_id, budget: message.payload.budget })
 *   },
 * })
 * ```
 */
export function defineActor<
  const Messages extends MessageSchemas,
  State extends Schema | undefined = undefined,
  const Dependencies extends Readonly<Record<string, DependencyOptions>> = Record<never, DependencyOptions>,
  const C extends Consistency = 'pipelined',
  const Tables extends readonly string[] = readonly string[],
>(definition: ActorDefinition<Messages, State, Dependencies, C, Tables>): Actor
export function defineActor(definition: UntypedDefinition): Actor {
  if (!isFields(definition)) throw badActor('its definition must be an object')
  refuseUnknownKeys(definition)
  const { group, topic, messages, state, dependencies = {}, retry = {}, tables } = definition
  const name = definition.name ?? topic
  if (!isText(group, groupNameForm)) throw badActor('group must be 1 to 128 letters, digits or . _ -')
  if (!isText(topic, topicNameForm)) throw badActor('topic must be 1 to 249 letters, digits or . _ -')
  if (!isText(name, nameForm)) throw badActor('name must be 1 to 249 letters, digits or . _ - / :')
  if (typeof definition.receive !== 'function') throw badActor('receive must be a function')
  checkSchemas(messages)
  if (state !== undefined) checkState(state)
  checkDependencies(dependencies)
  checkRetry(retry)
  if (tables !== undefined && !(Array.isArray(tables) && tables.every((table) => isText(table, /./))))
    throw badActor("tables must be a list of tables' names")
  const { consistency = 'pipelined', idempotency = 'message-id', timeoutMs } = definition
  if (consistency !== 'pipelined' && consistency !== 'serial')
    throw badActor("consistency must be 'pipelined' or 'serial'")
  if (idempotency !== 'message-id' && idempotency !== 'offset')
    throw badActor("idempotency must be 'message-id' or 'offset'")
  if (timeoutMs !== undefined && !isTimeout(timeoutMs, 86_400_000))
    throw badActor('timeoutMs must be between 1 and 86400000')
  return {
    [actorMark]: true,
    name,
    group,
    topic,
    messages,
    state,
    dependencies,
    retry,
    consistency,
    idempotency,
    timeoutMs,
    tables,
    receive: definition.receive,
  }
}

/** A definition with its types behind it: what each generic one is to the runtime. */
type UntypedDefinition = {
  readonly group: string
  readonly topic: string
  readonly name?: string
  readonly messages: MessageSchemas
  readonly state?: StateDefinition<Schema>
  readonly dependencies?: Readonly<Record<string, DependencyOptions>>
  readonly retry?: RetryOptions
  readonly consistency?: Consistency
  readonly idempotency?: Idempotency
  readonly timeoutMs?: number
  readonly tables?: readonly string[]
  receive(message: AnyMessage, ctx: AnyContext): unknown
}

/** Whether a module's export is an actor. */
export function isActor(value: unknown): value is Actor {
  return typeof value === 'object' && value !== null && actorMark in value
}

function badActor(what: string): TenantryError {
  return new TenantryError('TENANTRY_BAD_ACTOR', `the actor cannot work: ${what}`)
}

const definitionKeys = [
  'group',
  'topic',
  'name',
  'messages',
  'state',
  'dependencies',
  'retry',
  'consistency',
  'idempotency',
  'timeoutMs',
  'tables',
  'receive',
]

function refuseUnknownKeys(definition: object): void {
  for (const key of Object.keys(definition)) {
    if (!definitionKeys.includes(key)) throw badActor(`${key} is not known${didYouMean(key, definitionKeys)}`)
  }
}

/** What types promise, JavaScript and `any` may break: a definition is judged as if nothing were known of it. */
function isFields(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isText(value: unknown, form: RegExp): boolean {
  return typeof value === 'string' && form.test(value)
}

function isTimeout(value: unknown, most: number): boolean {
  return typeof value === 'number' && value > 0 && value <= most
}

const nameForm = /^[\p{L}\p{N}._\-/:]{1,249}$/u

function checkSchemas(messages: MessageSchemas): void {
  if (!isFields(messages)) throw badActor('messages must be an object: a schema for each message type')
  const entries = Object.entries(messages)
  if (entries.length === 0) throw badActor('messages is empty')
  for (const [type, schema] of entries) {
    if (type === '' || type.startsWith('@')) throw badActor('a message type is empty')
    if (schema?.['~standard']?.version !== 1) throw badActor(`messages['${type}'] is not a Standard Schema`)
  }
}

const maxDependencies = 30
const dependencyForm = /^\P{Cc}{1,128}$/u

function checkDependencies(dependencies: Readonly<Record<string, DependencyOptions>>): void {
  if (!isFields(dependencies)) throw badActor('dependencies must be an object: options for each name')
  // A decision names those that served it by the bits of one small integer.
  if (Object.keys(dependencies).length > maxDependencies)
    throw badActor(`dependencies may be ${maxDependencies} at most`)
  for (const [dependency, options] of Object.entries(dependencies)) {
    if (!isText(dependency, dependencyForm))
      throw badActor('a name in dependencies must be 1 to 128 characters, none of them a control character')
    const timeoutMs: unknown = options?.timeoutMs
    if (!isTimeout(timeoutMs, 600_000))
      throw badActor(`dependencies.${dependency}.timeoutMs must be between 1 and 600000`)
  }
}

function checkRetry(retry: RetryOptions): void {
  if (!isFields(retry)) throw badActor('retry must be an object: delaysMs, types')
  for (const key of Object.keys(retry))
    if (key !== 'delaysMs' && key !== 'types') throw badActor(`retry.${key} is not known`)
  const { delaysMs, types = {} } = retry
  if (!isFields(types)) throw badActor('retry.types must be an object: pauses for each message type')
  for (const [where, delays] of [['delaysMs', delaysMs ?? []] as const, ...Object.entries(types)]) {
    const fits =
      Array.isArray(delays) && delays.every((ms: unknown) => typeof ms === 'number' && ms >= 0 && ms <= 86_400_000)
    if (!fits) throw badActor(`retry.${where} must be a list of milliseconds from 0 to 86400000`)
  }
}

function checkState(state: StateDefinition<Schema>): void {
  if (!isFields(state)) throw badActor('state must be an object: version, schema and initial')
  if (!Number.isInteger(state.version) || state.version < 1 || state.version > 0x7fffffff)
    throw badActor('state.version must be a whole number from 1')
  if (state.schema?.['~standard']?.version !== 1) throw badActor('state.schema is not a Standard Schema')
  if (state.initial === undefined) throw badActor('state.initial is missing')
  if (state.migrate !== undefined && typeof state.migrate !== 'function')
    throw badActor('state.migrate must be a function')
  const problem = initialProblem(state)
  if (problem !== null) throw badActor(`state.initial is not read back from JSON as a state: ${problem}`)
}
