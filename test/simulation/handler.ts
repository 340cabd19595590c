import type { Effect, Failure, Shape } from '../../core/effects.ts'
import type { KafkaRecord } from '../../core/kafka/source.ts'
import { undefinedTable } from '../../core/postgres/sqlstate.ts'
import type { RetryPolicy } from '../../core/retry-policy.ts'
import type { Done, Failed } from '../../core/workers.ts'
import { type Message, messageIn } from './message.ts'

/** An instance's state: how many messages it has processed, and a hash of their ids in order. */
export type Chain = { readonly count: number; readonly hash: number }

export const emptyChain: Chain = { count: 0, hash: 0 }

export function extend(chain: Chain, messageId: string): Chain {
  let hash = chain.hash ^ 0x9e3779b9
  for (let i = 0; i < messageId.length; i++) hash = Math.imul(hash ^ messageId.charCodeAt(i), 0x01000193)
  return { count: chain.count + 1, hash: (hash ^ (hash >>> 13)) >>> 0 }
}

export function chainText({ count, hash }: Chain): string {
  return `[${count},${hash}]`
}

export function chainOf(json: string): Chain {
  const [count, hash] = json.slice(1, -1).split(',').map(Number)
  return { count: count ?? 0, hash: hash ?? 0 }
}

/** How often a handler that failed is tried again. */
export const retry: RetryPolicy = { delaysMs: [300, 800, 2_000], byType: new Map(), jitter: 0.2 }

/** The topics that actors publish to. */
export const outputs = ['out0', 'out1']

/** Where dead letters go. */
export const deadLetterTopic = 'dead'

const columns = ['message_id', 'record_offset', 'chain']
const shapes = {
  kept: shape('kept'),
  refusing: shape('refusing'),
  deferring: shape('deferring'),
}

function shape(table: string): Shape {
  return { key: table, table, columns, bare: columns.map(() => false) }
}

/** What each message's effects and state are said to take. */
export const writtenBytes = 100

export type Handled = { readonly outcome: Done | Failed; readonly chain: Chain }

/**
 * The simulated actor: a pure function of the record and the state, as an actor must be, but for what it calls, where it
 * calls anything. `flaky` makes it fail for no reason of its own.
 */
export function handle(
  record: KafkaRecord,
  chain: Chain,
  options: {
    name: string
    stateful: boolean
    offsetMode: boolean
    flaky: boolean
    /** Its worker knows no table that it writes. */
    lacking: boolean
    /** A new version of it has been released, which takes poison and what was bad. */
    mended: boolean
    /** What the dependency answers; null where it calls none. */
    served: boolean | null
  },
): Handled {
  const message = messageIn(record)
  const known = { type: message.kind, traceId: '', messageId: message.id }
  const key = options.offsetMode ? null : { uuid: message.id, day: 0 }
  if (message.kind === 'bad' && !options.mended)
    return { outcome: { kind: 'failed', failure: failure('schema', 'bad-record'), key: null, ...known }, chain }
  if (message.kind === 'poison' && !options.mended)
    return { outcome: { kind: 'failed', failure: failure('handler', 'permanent'), key, ...known }, chain }
  if (options.flaky || message.kind === 'broken')
    return { outcome: { kind: 'failed', failure: failure('handler', 'transient'), key, ...known }, chain }
  if (options.served === false) {
    const away = { ...failure('dependency', 'transient'), dependency: 'api' }
    return { outcome: { kind: 'failed', failure: away, key, ...known }, chain }
  }
  if (options.lacking) {
    const missing = { ...failure('effect', 'permanent'), sqlstate: undefinedTable }
    return { outcome: { kind: 'failed', failure: missing, key, ...known }, chain }
  }
  const next = extend(chain, message.id)
  const state = options.stateful ? { version: 1, json: chainText(next) } : null
  return {
    outcome: {
      kind: 'done',
      key,
      effects: effectsOf(options.name, message, record.offset, state?.json ?? ''),
      publishes: message.publishes > 0,
      packed: null,
      stateful: state !== null,
      state,
      bytes: writtenBytes,
      served: options.served === true ? 1 : 0,
      ...known,
    },
    chain: next,
  }
}

function effectsOf(actor: string, message: Message, offset: number, chain: string): Effect[] {
  const table =
    message.kind === 'bad effect' ? shapes.refusing : message.kind === 'bad commit' ? shapes.deferring : shapes.kept
  const effects: Effect[] = [{ kind: 'row', shape: table, values: [message.id, String(offset), chain] }]
  if (message.row >= 0) effects.push({ kind: 'sql', text: ['update hot'], values: [String(message.row)] })
  for (let i = 0; i < message.publishes; i++) {
    effects.push({
      kind: 'publish',
      topic: message.kind === 'refused' ? 'too large' : (outputs[i % outputs.length] ?? ''),
      messageId: `${actor}/${message.id}#${i}`,
      key: new Uint8Array(0),
      value: new Uint8Array(0),
      headers: [],
    })
  }
  return effects
}

function failure(reason: string, kind: Failure['kind']): Failure {
  return { reason, errorClass: 'Error', message: reason, stack: '', kind }
}
