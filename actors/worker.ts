import type { MessagePort } from 'node:worker_threads'
import type { Catalog } from '../core/catalog.ts'
import { systemClock } from '../core/clock.ts'
import type { Facts } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import { loggableFacts, loggableText } from '../core/loggable.ts'
import type { Log } from '../core/log.ts'
import type { Decision } from '../core/workers.ts'
import type { DecisionFrame } from './decision-frame.ts'
import { DecisionPacker, Told } from './decision-packer.ts'
import { type DispatchFrame, unpackDispatches } from './dispatch-frame.ts'
import { Instances } from './instances.ts'
import { PostgresKeys } from './known-keys.ts'
import { ReadConnections } from './read-connections.ts'
import { PostgresReader } from './reader.ts'
import { tenantColumn, Tables } from './tables.ts'
import { loadTopology } from './topology.ts'

/** What a thread is given when its task begins. */
export type WorkerSetup = {
  readonly port: MessagePort
  readonly actors: string
  readonly catalog: Catalog
  readonly limits: Limits
  /** For `ctx.query`; '' where no actor reads. */
  readonly databaseUrl: string
}

export type LogLine = {
  readonly level: keyof Log
  readonly event: string
  readonly fields: Facts
  readonly sentence: string
}

export type ToWorker =
  | DispatchFrame
  | { readonly kind: 'forget'; readonly mailboxes: readonly number[] }
  | { readonly kind: 'stop' }
export type FromWorker =
  | { readonly kind: 'ready' }
  | DecisionFrame
  | { readonly kind: 'log'; readonly lines: readonly LogLine[]; readonly dropped: number }

/** A thread's one task: loads the actors, says ready, and serves the port until it is told to stop. */
export default async function work(setup: WorkerSetup): Promise<void> {
  const { actors } = await loadTopology(setup.actors)
  // One tenant's message must not leave a property behind that the next one's sees (a merge of constructor.prototype).
  for (const intrinsic of [Object.prototype, Array.prototype, Function.prototype]) Object.preventExtensions(intrinsic)
  const connections =
    setup.databaseUrl === '' ? undefined : new ReadConnections({ url: setup.databaseUrl, clock: systemClock })
  const outbound = new Outbound(setup.port)
  const services = {
    clock: systemClock,
    log: outbound.log,
    limits: setup.limits,
    tables: new Tables(setup.catalog, { tenantColumn, maxDepth: setup.limits.maxDepth }),
    reader: new PostgresReader(connections),
  }
  const instances = new Instances(
    actors.map(({ actor }) => actor),
    services,
    (decision, lane) => outbound.decide(decision, lane),
    connections === undefined ? undefined : new PostgresKeys(connections, outbound.log),
  )
  const stopped = Promise.withResolvers<void>()
  setup.port.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'dispatch':
        for (const dispatch of unpackDispatches(message, setup.limits.maxHeaders)) instances.dispatch(dispatch)
        outbound.flush()
        return
      case 'forget':
        instances.forget(message.mailboxes)
        return
      case 'stop':
        stopped.resolve()
    }
  })
  setup.port.on('close', () => stopped.resolve())
  // A thread that ends of itself still says what it had decided.
  process.on('exit', () => outbound.flush())
  outbound.ready()
  await stopped.promise
  instances.end()
  outbound.flush()
  setup.port.close()
  await connections?.close()
}

/** Lines of log that wait for the supervisor; an actor that logs in a loop loses the rest, counted. */
const maxLines = 1_000

/** A long frame is answered in parts, so that commits begin early. */
const decisionsPerFrame = 256

/** Answers on their way out: together for what was handled together, and never more than a frame's worth late. */
class Outbound {
  readonly #port: MessagePort
  readonly #told = new Told()
  /** By lane: a frame is of one commit's decisions as far as can be. */
  readonly #packers = new Map<number, DecisionPacker>()
  #lines: LogLine[] = []
  #dropped = 0
  #scheduled = false

  constructor(port: MessagePort) {
    this.#port = port
  }

  ready(): void {
    this.#post({ kind: 'ready' }, [])
  }

  decide(decision: Decision, lane: number): void {
    let packer = this.#packers.get(lane)
    if (packer === undefined) {
      packer = new DecisionPacker(this.#told)
      this.#packers.set(lane, packer)
    }
    packer.add(decision)
    if (packer.count >= decisionsPerFrame) this.flush()
    else this.#schedule()
  }

  readonly log: Log = {
    debug: (event, fields, sentence) => this.#line('debug', event, fields, sentence),
    info: (event, fields, sentence) => this.#line('info', event, fields, sentence),
    warn: (event, fields, sentence) => this.#line('warn', event, fields, sentence),
    error: (event, fields, sentence) => this.#line('error', event, fields, sentence),
  }

  flush(): void {
    for (const packer of this.#packers.values()) {
      if (packer.count === 0) continue
      const frame = packer.take()
      this.#post(frame, [frame.words.buffer, frame.bytes.buffer])
    }
    if (this.#lines.length > 0) {
      this.#post({ kind: 'log', lines: this.#lines, dropped: this.#dropped }, [])
      this.#lines = []
      this.#dropped = 0
    }
  }

  /** A line as an actor wrote it: what cannot cross between threads goes as text. */
  #line(level: LogLine['level'], event: unknown, fields: unknown, sentence: unknown): void {
    this.#schedule()
    if (this.#lines.length >= maxLines) this.#dropped++
    else
      this.#lines.push({
        level,
        event: loggableText(event),
        fields: loggableFacts(fields),
        sentence: loggableText(sentence),
      })
  }

  /** Handlers that finish in the same turn of the loop answer in one frame. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.flush()
    })
  }

  #post(message: FromWorker, transfer: ArrayBuffer[]): void {
    this.#port.postMessage(message, transfer)
  }
}
