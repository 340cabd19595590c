import { join } from 'node:path'
import type { Catalog, Column } from '../../core/catalog.ts'
import { type Clock, systemClock } from '../../core/clock.ts'
import type { Facts, TenantryError } from '../../core/errors.ts'
import type { KafkaRecord } from '../../core/kafka/source.ts'
import { defaultLimits } from '../../core/limits.ts'
import { type Log, silentLog } from '../../core/log.ts'
import type { Decision, Executing, Opening } from '../../core/workers.ts'
import { WorkerPool, type WorkerPoolSettings } from '../../supervisors/worker-pool.ts'

// Real threads that run the actors of test/fixtures/actors/worker-pool.

export const actors = join(import.meta.dirname, '../fixtures/actors/worker-pool')
/** Files go by path: chaos.ts, counter.ts. */
export const chaos = 0
export const counter = 1

const column = (name: string, kind: Column['kind']): Column => ({
  name,
  type: kind === 'integer' ? 'int8' : 'text',
  typeSchema: 'pg_catalog',
  base: kind === 'integer' ? 'int8' : 'text',
  kind,
  nullable: true,
  generated: false,
})
const catalog: Catalog = {
  tables: [
    {
      name: 'public.counts',
      columns: [column('tenant_id', 'text'), column('n', 'integer'), column('sum', 'integer'), column('note', 'text')],
      uniques: [],
      references: [],
    },
  ],
}

/** Limits that no test meets unless it wants to. */
export const roomy: WorkerPoolSettings = {
  creditRecords: 4_000,
  handlerTimeoutMs: 60_000,
  tenantWeights: {},
  blockLimitMs: 30_000,
  maxResidentBytes: Number.POSITIVE_INFINITY,
  maxRestarts: 1_000,
  restartWindowMs: 60_000,
}

export type ObservedOptions = {
  readonly actors?: string
  readonly clock?: Clock
  readonly maxHeapMiB?: number
  readonly environment?: NodeJS.ProcessEnv
  readonly settings?: Partial<WorkerPoolSettings>
}

/** A pool and everything that it told its listener. */
export class Observed {
  readonly decisions: Decision[] = []
  readonly lost: number[] = []
  /** Why, and what executed, each time. */
  readonly losses: { readonly error: Error; readonly executing: readonly Executing[] }[] = []
  readonly failures: TenantryError[] = []
  readonly ready: number[] = []
  readonly lines: string[] = []
  readonly pool: WorkerPool
  #wake = () => {}

  constructor(count: number, changes: ObservedOptions = {}) {
    const note = (event: string, _fields: Facts) => {
      this.lines.push(event)
      this.#wake()
    }
    const log: Log = { ...silentLog, info: note, warn: note }
    this.pool = new WorkerPool({
      count,
      actors,
      catalog,
      limits: defaultLimits,
      clock: systemClock,
      log,
      ...changes,
      settings: { ...roomy, ...changes.settings },
      failed: (error) => {
        this.failures.push(error)
        this.#wake()
      },
    })
  }

  start(): Promise<void> {
    const told =
      <T>(list: T[]) =>
      (item: T) => {
        list.push(item)
        this.#wake()
      }
    return this.pool.start({
      decided: (_worker, decisions) => {
        this.decisions.push(...decisions)
        this.#wake()
      },
      lost: (worker, error, executing) => {
        this.losses.push({ error, executing })
        this.lost.push(worker)
        this.#wake()
      },
      ready: told(this.ready),
    })
  }

  /** Waits for `condition`; the harness sets the deadline. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#wake = resolve
      await promise
    }
  }
}

export function record(offset: number, type: string, payload: unknown, tenant: string): KafkaRecord {
  const value = Buffer.from(JSON.stringify({ message_id: `m-${offset}`, type, tenant_id: tenant, payload }))
  return {
    offset,
    timestamp: 1_764_050_400_000,
    key: Buffer.from(tenant),
    value,
    headers: [[Buffer.from('content-type'), Buffer.from('application/json')]],
  }
}

export function opening(actor: number, tenant: string, state: Opening['state'] = null): Opening {
  return { actor, topic: 't', partition: 0, lane: 0, tenant, state }
}

/** A record of the chaos actor's. */
export const does =
  (what: string, n = 0) =>
  (offset: number) =>
    record(offset, 'do', { what, n }, 'acme')
