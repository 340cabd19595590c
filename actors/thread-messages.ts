import type { MessagePort } from 'node:worker_threads'
import type { Catalog } from '../core/catalog.ts'
import type { Facts } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Identity } from '../core/workers.ts'
import type { DecisionFrame } from './decision-frame.ts'
import type { DispatchFrame } from './dispatch-frame.ts'

/** What a thread is given when its task begins. */
export type WorkerSetup = {
  readonly port: MessagePort
  readonly actors: string
  readonly catalog: Catalog
  readonly limits: Limits
  /** For `ctx.query`; '' where no actor reads. */
  readonly databaseUrl: string
  /** For `Vitals`. */
  readonly vitals: SharedArrayBuffer
  readonly beatMs: number
  readonly handlerTimeoutMs: number
  /** Of tenants whose weight is not 1. */
  readonly tenantWeights: Readonly<Record<string, number>>
  /** This is the extra thread: it says of each record that it begins with it. */
  readonly extra: boolean
}

/** A line of an actor's log. */
export type LogLine = {
  readonly level: keyof Log
  readonly event: string
  readonly fields: Facts
  readonly sentence: string
}

/** From the supervisor to a thread. */
export type ToWorker =
  | DispatchFrame
  | { readonly kind: 'forget'; readonly mailboxes: readonly number[] }
  | { readonly kind: 'catalog'; readonly catalog: Catalog }
  | { readonly kind: 'stop' }

export type FromWorker =
  | { readonly kind: 'ready' }
  | DecisionFrame
  | { readonly kind: 'began'; readonly mailbox: number; readonly offset: number; readonly identity: Identity }
  | { readonly kind: 'log'; readonly lines: readonly LogLine[]; readonly dropped: number }
