import { type Catalog, type Column, kindOfType } from '../core/catalog.ts'
import { systemClock } from '../core/clock.ts'
import type { Failure, RowEffect, SqlText } from '../core/effects.ts'
import { parseJson, stringifyJson } from '../core/json.ts'
import type { Headers } from '../core/kafka/source.ts'
import { defaultLimits, type Limits } from '../core/limits.ts'
import { type Log, silentLog } from '../core/log.ts'
import { deriveId } from '../core/message-id.ts'
import { encodeParameter } from '../core/sql-text.ts'
import type { Decision, Done } from '../core/workers.ts'
import type { Reader } from './context.ts'
import type { Actor } from './define-actor.ts'
import { incoming } from './dispatch-frame.ts'
import { Instances } from './instances.ts'
import { stateRules } from './state.ts'
import { type Row, Tables, tenantColumn, type TableSource } from './tables.ts'

export type TestOptions = {
  /**
   * Columns by table, with their PostgreSQL types: `{ campaigns: { id: 'uuid', tenant_id: 'text', budget: 'numeric' } }`.
   * Left out, every table and column is taken and values are written by their own types.
   */
  readonly tables?: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** Unique constraints by table, which upserts into `tables` must name. */
  readonly uniques?: Readonly<Record<string, readonly (readonly string[])[]>>
  /** The state that tenants begin with instead of the initial one, as the actor's current version has it. */
  readonly state?: unknown
  /** The records' time; 2026-01-01T00:00:00Z when left out. */
  readonly now?: Date
  readonly limits?: Partial<Limits>
  readonly log?: Log
  /** Answers `ctx.query`. */
  readonly query?: (
    text: string,
    values: readonly unknown[],
    tenant: string,
  ) => readonly object[] | Promise<readonly object[]>
}

/** A message to be handled. What is left out is made up, the same at each run. */
export type TestMessage = {
  readonly type: string
  readonly payload: unknown
  readonly tenant_id?: string
  readonly message_id?: string
  readonly trace_id?: string
  readonly causation_id?: string
  readonly occurred_at?: string
  readonly schema_version?: number
}

export type TestRow = {
  readonly kind: 'insert' | 'upsert'
  /** As PostgreSQL has it: `public.campaigns`. */
  readonly table: string
  /** Values in PostgreSQL's text form, by column. */
  readonly row: Readonly<Record<string, SqlText>>
  readonly conflict: readonly string[] | undefined
}

export type TestPublished = {
  readonly topic: string
  readonly key: string
  readonly messageId: string
  readonly headers: Readonly<Record<string, string>>
  /** The value, decoded where it is JSON: an envelope, or a CloudEvent's data. */
  readonly value: unknown
}

/** What one message came to. */
export type TestResult = {
  /** Undefined when the message was processed; else nothing of it becomes true. */
  readonly failure: Failure | undefined
  readonly rows: readonly TestRow[]
  /** Own statements: the text with $1, $2, … and the parameters. */
  readonly statements: readonly { readonly text: string; readonly values: readonly SqlText[] }[]
  readonly published: readonly TestPublished[]
  /** The tenant's state afterwards: after a failure what it was before. Undefined for an actor without state. */
  readonly state: unknown
}

/**
 * Runs one actor in memory, by the code that runs it in production: decoding, schemas, context, limits, state.
 *
 * ```ts
 * const actor = testActor(campaigns, { tables: { campaigns: { id: 'text', tenant_id: 'text' } } })
 * const { rows, published, failure } = await actor.send({ type: 'campaign.create', payload: { campaign_id: 'c-1', budget: 5 } })
 * ```
 */
export function testActor(actor: Actor, options: TestOptions = {}): TestActor {
  return new TestActor(actor, options)
}

const defaultTenant = 'tenant-1'

export class TestActor {
  readonly #actor: Actor
  readonly #limits: Limits
  readonly #timestamp: number
  readonly #instances: Instances
  /** Committed states by tenant. */
  readonly #states = new Map<string, NonNullable<Done['state']>>()
  readonly #initial: Done['state']
  readonly #mailboxes = new Map<string, number>()
  readonly #waiting = new Map<number, (decision: Decision) => void>()
  /** The last message of each tenant: the next one waits for it. */
  readonly #last = new Map<string, Promise<TestResult>>()
  #run = 0
  #offset = 0
  #sent = 0

  constructor(actor: Actor, options: TestOptions) {
    this.#actor = actor
    this.#limits = { ...defaultLimits, ...options.limits }
    this.#timestamp = (options.now ?? new Date('2026-01-01T00:00:00Z')).getTime()
    this.#initial =
      options.state === undefined || actor.state === undefined
        ? null
        : { version: actor.state.version, json: stringifyJson(options.state, stateRules) }
    this.#instances = new Instances(
      [actor],
      {
        clock: systemClock,
        log: options.log ?? silentLog,
        limits: this.#limits,
        tables:
          options.tables === undefined
            ? new AnyTables(this.#limits.maxDepth)
            : declaredTables(options.tables, options.uniques ?? {}, this.#limits.maxDepth),
        reader: readerOf(options.query),
      },
      (decision) => this.#waiting.get(decision.mailbox)?.(decision),
    )
  }

  /** Handles a message after those before it. Never rejects: a failure is in the result. */
  send(message: TestMessage): Promise<TestResult> {
    const tenant = message.tenant_id ?? defaultTenant
    const uuid = deriveId({
      use: 'message',
      group: 'test',
      actor: 'test',
      tenant,
      uuid: '',
      index: this.#sent++,
      time: this.#timestamp,
    })
    const envelope = {
      message_id: uuid,
      tenant_id: tenant,
      occurred_at: new Date(this.#timestamp).toISOString(),
      schema_version: 1,
      ...message,
    }
    return this.sendValue(
      Buffer.from(stringifyJson(envelope, { maxDepth: this.#limits.maxDepth, forPostgres: false })),
      { tenant },
    )
  }

  /** Handles a record as Kafka would deliver it, to try bad ones. */
  sendValue(
    value: Buffer | null,
    { tenant = defaultTenant, headers = [] }: { tenant?: string; headers?: Headers } = {},
  ): Promise<TestResult> {
    const before = this.#last.get(tenant)
    const result =
      before === undefined
        ? this.#handle(tenant, value, headers)
        : before.then(() => this.#handle(tenant, value, headers))
    this.#last.set(tenant, result)
    return result
  }

  async #handle(tenant: string, value: Buffer | null, headers: Headers): Promise<TestResult> {
    const mailbox = this.#mailboxes.get(tenant) ?? this.#mailboxes.size
    this.#mailboxes.set(tenant, mailbox)
    const decided = Promise.withResolvers<Decision>()
    this.#waiting.set(mailbox, decided.resolve)
    const record = { offset: this.#offset++, timestamp: this.#timestamp, key: Buffer.from(tenant), value, headers }
    const opening = {
      actor: 0,
      topic: this.#actor.topic,
      partition: 0,
      tenant,
      lane: 0,
      state: this.#states.get(tenant) ?? this.#initial,
    }
    // A run of its own for each message: it begins with what was committed, as after a restart.
    this.#instances.dispatch({
      mailbox,
      run: ++this.#run,
      opening,
      records: [incoming(record, this.#limits.maxHeaders)],
    })
    return this.#result(tenant, await decided.promise)
  }

  #result(tenant: string, { outcome }: Decision): TestResult {
    if (outcome.kind === 'done' && outcome.state !== null) this.#states.set(tenant, outcome.state)
    const effects = outcome.kind === 'done' ? outcome.effects : []
    const state = this.#states.get(tenant) ?? this.#initial
    const initial: unknown = this.#actor.state?.initial
    return {
      failure: outcome.kind === 'failed' ? outcome.failure : undefined,
      rows: effects.filter((effect) => effect.kind === 'row').map(readableRow),
      statements: effects
        .filter((effect) => effect.kind === 'sql')
        .map(({ text, values }) => ({ text: text.reduce((left, right, i) => `${left}$${i}${right}`), values })),
      published: effects
        .filter((effect) => effect.kind === 'publish')
        .map(({ topic, key, messageId, value, headers }) => ({
          topic,
          key: Buffer.from(key).toString(),
          messageId,
          headers: Object.fromEntries(headers),
          value: readableValue(value, headers),
        })),
      state: state === null ? initial : parseJson(state.json, 256),
    }
  }
}

function readableRow({ shape, values }: RowEffect): TestRow {
  return {
    kind: shape.conflict === undefined ? 'insert' : 'upsert',
    table: shape.table,
    row: Object.fromEntries(shape.columns.map((column, i) => [column, values[i] ?? null])),
    conflict: shape.conflict,
  }
}

function readableValue(value: Uint8Array, headers: readonly (readonly [string, string])[]): unknown {
  const json = headers.some(([name, type]) => name === 'content-type' && type.endsWith('json'))
  return json ? parseJson(Buffer.from(value).toString(), 256) : value
}

function readerOf(query: TestOptions['query']): Reader {
  return {
    async query(tenant, text, values) {
      if (query === undefined) throw new TypeError('give testActor a `query` that answers ctx.query')
      return query(
        text.reduce((left, right, i) => `${left}$${i}${right}`),
        values,
        tenant,
      )
    },
  }
}

/** Takes every table and column; values are written by their own types. */
class AnyTables implements TableSource {
  readonly #maxDepth: number

  constructor(maxDepth: number) {
    this.#maxDepth = maxDepth
  }

  get(name: string): ReturnType<TableSource['get']> {
    const table = name.includes('.') ? name : `public.${name}`
    return {
      write: (row: Row, _tenant: string, conflict: readonly string[] | undefined): RowEffect => {
        const columns = Object.keys(row)
        const values = columns.map((column) => encodeParameter(`${table}.${column}`, row[column], this.#maxDepth))
        const bare = columns.map(() => false)
        const base = { key: `${table}(${columns.join()})${conflict?.join() ?? ''}`, table, columns, bare }
        return { kind: 'row', shape: conflict === undefined ? base : { ...base, conflict }, values }
      },
    }
  }
}

function declaredTables(
  tables: NonNullable<TestOptions['tables']>,
  uniques: NonNullable<TestOptions['uniques']>,
  maxDepth: number,
): Tables {
  const catalog: Catalog = {
    tables: Object.entries(tables).map(([name, columns]) => ({
      name: name.includes('.') ? name : `public.${name}`,
      columns: Object.entries(columns).map(([column, type]) => columnOf(column, type)),
      uniques: uniques[name] ?? [],
      references: [],
    })),
  }
  return new Tables(catalog, { tenantColumn, maxDepth })
}

/** SQL's own words for types that PostgreSQL's catalog calls otherwise. */
const canonicalTypes: Readonly<Record<string, string>> = {
  smallint: 'int2',
  integer: 'int4',
  int: 'int4',
  bigint: 'int8',
  boolean: 'bool',
  real: 'float4',
  'double precision': 'float8',
  decimal: 'numeric',
  char: 'bpchar',
  character: 'bpchar',
  'character varying': 'varchar',
  'timestamp with time zone': 'timestamptz',
  'timestamp without time zone': 'timestamp',
}

function columnOf(name: string, written: string): Column {
  const array = /^_|\[\]$/.test(written)
  const bare = written.replace(/^_|\[\]$|\([\d, ]*\)/g, '')
  const type = canonicalTypes[bare] ?? bare
  const own = array ? `_${type}` : type
  return {
    name,
    type: own,
    typeSchema: 'pg_catalog',
    base: own,
    kind: array ? 'array' : kindOfType(type),
    nullable: true,
    generated: false,
  }
}
