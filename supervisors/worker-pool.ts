import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { DecisionUnpacker } from '../actors/decision-unpacker.ts'
import { packDispatches, transfersOf } from '../actors/dispatch-frame.ts'
import type { FromWorker, ToWorker, WorkerSetup } from '../actors/worker.ts'
import type { Catalog } from '../core/catalog.ts'
import type { Clock, Timer } from '../core/clock.ts'
import type { Shape } from '../core/effects.ts'
import { errorOf, type Facts, TenantryError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Dispatch, Workers, WorkersListener } from '../core/workers.ts'
import { WorkerUtilisation } from './worker-utilisation.ts'

export type WorkerPoolOptions = {
  /** Threads. */
  readonly count: number
  /** The actors' folder or file, as for `loadTopology`: every thread loads it for itself. */
  readonly actors: string
  readonly catalog: Catalog
  readonly limits: Limits
  readonly clock: Clock
  readonly log: Log
  /** Where `ctx.query` reads; without it, actors that query fail. */
  readonly databaseUrl?: string
  /** `process.env` of the threads, a copy; the process's own when left out. */
  readonly environment?: Readonly<NodeJS.ProcessEnv>
  /** Heap of one thread in MiB; Node's own default when left out. Buffers are not counted in it, and Bun ignores it. */
  readonly maxHeapMiB?: number
}

type Thread = {
  readonly number: number
  /** Raised with each thread of this number; what an older one still says is not heard. */
  generation: number
  port: MessagePort | undefined
  unpacker: DecisionUnpacker
  ready: boolean
  /** Threads that ended since one last lived for a while. */
  crashes: number
  startedAt: number
  restart: Timer | undefined
  /** Settles when the task has ended, however. */
  ended: Promise<void>
}

/** A thread that lived this long was not a crash at start. Milliseconds. */
const longLife = 10_000

/** How long `stop` waits for threads to end by themselves. */
const stopPatienceMs = 1_000

/**
 * The threads that run actors. Piscina looks after their lives; each runs one task for as long as it lives, with a
 * port over which packed frames go, because a task a message would cost more than the message.
 */
export class WorkerPool implements Workers {
  readonly count: number
  readonly #options: WorkerPoolOptions
  readonly #threads: Thread[]
  readonly #shapes = new Map<string, Shape>()
  readonly #utilisation = new WorkerUtilisation()
  #piscina: Piscina | undefined
  #listener: WorkersListener | undefined
  #stopping: Promise<void> | undefined

  constructor(options: WorkerPoolOptions) {
    if (!Number.isInteger(options.count) || options.count < 1)
      throw new TenantryError('TENANTRY_BAD_OPTION', 'count must be a whole number from 1')
    this.count = options.count
    this.#options = options
    this.#threads = Array.from({ length: options.count }, (_, number) => ({
      number,
      generation: 0,
      port: undefined,
      unpacker: new DecisionUnpacker(this.#shapes),
      ready: false,
      crashes: 0,
      startedAt: 0,
      restart: undefined,
      ended: Promise.resolve(),
    }))
  }

  /**
   * Resolves when every thread has loaded the actors; `ready` is called for those that replace one later, never for the
   * first ones. Rejects, with nothing left running, when a thread cannot load them.
   */
  async start(listener: WorkersListener): Promise<void> {
    if (this.#piscina !== undefined)
      throw new TenantryError('TENANTRY_STARTED_TWICE', 'the worker pool has been started already')
    this.#listener = listener
    const { maxHeapMiB, environment } = this.#options
    const piscina = new Piscina({
      filename: new URL('../actors/worker.ts', import.meta.url).href,
      minThreads: this.count,
      maxThreads: this.count,
      concurrentTasksPerWorker: 1,
      idleTimeout: Infinity,
      // The thread must keep its event loop: its work comes by a port of our own.
      atomics: 'disabled',
      recordTiming: false,
      ...(environment !== undefined && { env: { ...environment } }),
      ...(maxHeapMiB === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: maxHeapMiB } }),
    })
    // A thread that dies without a task is one that we replace anyway.
    piscina.on('error', (error: unknown) =>
      this.#options.log.warn('worker.error', crash(errorOf(error)), 'A worker thread failed outside its task.'),
    )
    this.#piscina = piscina
    const opened = this.#threads.map((thread) => this.#run(piscina, thread))
    try {
      await Promise.all(opened)
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  dispatch(worker: number, dispatches: readonly Dispatch[]): void {
    const port = this.#threads[worker]?.port
    if (port === undefined || dispatches.length === 0) return
    const frame = packDispatches(dispatches)
    send(port, frame, transfersOf(frame))
  }

  forget(worker: number, mailboxes: readonly number[]): void {
    const port = this.#threads[worker]?.port
    if (port !== undefined && mailboxes.length > 0) send(port, { kind: 'forget', mailboxes }, [])
  }

  /** Share of the time that each thread was busy since the last call, 0 to 1; empty on Bun. */
  utilisation(): readonly number[] {
    return this.#utilisation.read(this.#piscina?.threads ?? [])
  }

  /** Ends the threads; what they had not answered is never answered. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    for (const thread of this.#threads) {
      thread.restart?.cancel()
      if (thread.port !== undefined) send(thread.port, { kind: 'stop' }, [])
    }
    // A thread that does as it is told closes its connections; one that does not is ended all the same.
    const patience = Promise.withResolvers<void>()
    const timer = this.#options.clock.after(stopPatienceMs, patience.resolve)
    await Promise.race([patience.promise, Promise.all(this.#threads.map((thread) => thread.ended))])
    timer.cancel()
    await this.#piscina?.destroy()
    for (const thread of this.#threads) {
      thread.port?.close()
      thread.port = undefined
    }
  }

  /** Starts a thread's task. Resolves when it is ready; rejects if it ends before. */
  #run(piscina: Piscina, thread: Thread): Promise<void> {
    const generation = ++thread.generation
    const { port1: port, port2: theirs } = new MessageChannel()
    thread.port = port
    thread.unpacker = new DecisionUnpacker(this.#shapes)
    thread.ready = false
    thread.startedAt = this.#options.clock.monotonic()
    const ready = Promise.withResolvers<void>()
    const hear = (message: FromWorker) => {
      if (thread.generation !== generation) return
      if (message.kind !== 'ready') return this.#hear(thread, message)
      thread.ready = true
      ready.resolve()
    }
    port.on('message', hear)
    const ended = (error: Error) => {
      // What the thread had answered before it died still lies in its port: it was decided, and it counts.
      for (let rest = nextMessage(port); rest !== undefined; rest = nextMessage(port)) hear(rest)
      this.#ended(piscina, thread, generation, error, ready.reject)
    }
    const { actors, catalog, limits, databaseUrl = '' } = this.#options
    const setup: WorkerSetup = {
      port: theirs,
      actors,
      catalog,
      limits,
      databaseUrl,
    }
    thread.ended = piscina.run(setup, { transferList: [theirs] }).then(
      () => ended(new TenantryError('TENANTRY_WORKER_ENDED', 'a worker thread ended its task by itself')),
      (error: unknown) => ended(errorOf(error)),
    )
    return ready.promise
  }

  #hear(thread: Thread, message: Exclude<FromWorker, { kind: 'ready' }>): void {
    if (message.kind === 'decisions') {
      this.#listener?.decided(thread.number, thread.unpacker.unpack(message))
      return
    }
    for (const { level, event, fields, sentence } of message.lines)
      this.#options.log[level](event, { ...fields, worker: thread.number }, sentence)
    if (message.dropped > 0)
      this.#options.log.warn(
        'worker.log_dropped',
        { worker: thread.number, dropped: message.dropped },
        'An actor logs faster than its lines can be written; the rest was dropped.',
      )
  }

  #ended(
    piscina: Piscina,
    thread: Thread,
    generation: number,
    error: Error,
    rejectReady: (error: Error) => void,
  ): void {
    if (thread.generation !== generation) return
    thread.generation++
    thread.port?.close()
    thread.port = undefined
    const wasReady = thread.ready
    thread.ready = false
    if (!wasReady) rejectReady(error)
    if (this.#stopping !== undefined) return
    if (wasReady) {
      this.#options.log.error(
        'worker.lost',
        { worker: thread.number, ...crash(error) },
        'A worker thread ended; it is replaced, and its records run again.',
      )
      this.#listener?.lost(thread.number, error)
    }
    // A first thread that cannot even start is the caller's to hear of; a replacement is tried again.
    if (wasReady || thread.crashes > 0) this.#replace(piscina, thread)
  }

  #replace(piscina: Piscina, thread: Thread): void {
    const { clock, log } = this.#options
    thread.crashes = clock.monotonic() - thread.startedAt > longLife ? 1 : thread.crashes + 1
    const delayMs = thread.crashes === 1 ? 0 : Math.min(5_000, 50 * 2 ** thread.crashes)
    thread.restart = clock.after(delayMs, () => {
      this.#run(piscina, thread).then(
        () => this.#listener?.ready(thread.number),
        (error: unknown) =>
          log.error(
            'worker.start_failed',
            { worker: thread.number, error: errorOf(error).message },
            'A replacement for a worker thread could not start; it is tried again.',
          ),
      )
    })
  }
}

/** What ended a thread, and where. Its message may quote what the actor worked on. */
function crash({ name, stack }: Error): Facts {
  return { error: name, at: /^ +at (.+)$/m.exec(stack ?? '')?.[1] ?? '' }
}

function nextMessage(port: MessagePort): FromWorker | undefined {
  const received: { message: FromWorker } | undefined = receiveMessageOnPort(port)
  return received?.message
}

function send(port: MessagePort, message: ToWorker, transfer: ArrayBuffer[]): void {
  port.postMessage(message, transfer)
}
