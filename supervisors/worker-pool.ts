import type { Worker } from 'node:worker_threads'
import { packDispatches, transfersOf } from '../actors/dispatch-frame.ts'
import type { FromWorker } from '../actors/thread-messages.ts'
import type { Catalog } from '../core/catalog.ts'
import { backOffMs, type Clock, sleep, type Timer } from '../core/clock.ts'
import type { Shape } from '../core/effects.ts'
import { errorOf, TenantryError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Log } from '../core/log.ts'
import type { Dispatch, Executing, Workers, WorkersListener } from '../core/workers.ts'
import { RestartLimit } from './restart-limit.ts'
import { abandonedCode, beatMsOf, ThreadWatch, type ThreadWatchSettings } from './thread-watch.ts'
import { WorkerThread } from './worker-thread.ts'
import { mostAtWorker } from './worker-credit.ts'
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
  readonly settings: WorkerPoolSettings
  /** Where `ctx.query` reads; without it, actors that query fail. */
  readonly databaseUrl?: string
  /** `process.env` of the threads, a copy; the process's own when left out. */
  readonly environment?: Readonly<NodeJS.ProcessEnv>
  /** Heap of one thread in MiB; Node's own default when left out. Buffers are not counted in it, and Bun ignores it. */
  readonly maxHeapMiB?: number
  /** Threads end too often. Called once at most; none is replaced from then on. */
  readonly failed: (error: TenantryError) => void
}

export type WorkerPoolSettings = ThreadWatchSettings & {
  /** Records that may be at one thread undecided. */
  readonly creditRecords: number
  /** How long a handler may take whose actor does not say. */
  readonly handlerTimeoutMs: number
  /** Of a thread's time, where others want it, too; 1 for those that are not named. */
  readonly tenantWeights: Readonly<Record<string, number>>
  /** More threads than this may not end within `restartWindowMs`, nor have been ended in vain. */
  readonly maxRestarts: number
  readonly restartWindowMs: number
}

/** A place in the pool: its thread, or when the next one is tried. */
type Post = {
  readonly number: number
  thread: WorkerThread | undefined
  /** Starts in a row that failed. */
  failures: number
  restart: Timer | undefined
}

const startRetryMs = { first: 100, most: 1_000 } as const

/** How long `stop` waits for threads to end by themselves, and then for their ends. */
const stopPatienceMs = 1_000

/**
 * The threads that run actors. Each that is lost is replaced: it has ended, does not answer, or takes too much memory.
 * One extra thread, when it is asked for, runs what may have ended another.
 */
export class WorkerPool implements Workers {
  readonly count: number
  readonly #options: WorkerPoolOptions
  readonly #posts: readonly Post[]
  readonly #extra: Post
  readonly #restarts: RestartLimit
  #catalog: Catalog
  readonly #watch: ThreadWatch
  readonly #shapes = new Map<string, Shape>()
  readonly #utilisation = new WorkerUtilisation()
  /** Threads that count as ended and have not. */
  readonly #lingering = new Set<WorkerThread>()
  #listener: WorkersListener | undefined
  #failed = false
  #stopping: Promise<void> | undefined

  constructor(options: WorkerPoolOptions) {
    const { count, settings } = options
    if (!Number.isInteger(count) || count < 1)
      throw new TenantryError('TENANTRY_BAD_OPTION', 'count must be a whole number from 1')
    this.count = count
    this.#options = options
    this.#catalog = options.catalog
    this.#posts = Array.from({ length: count + 1 }, (_, number) => post(number))
    this.#extra = this.#posts[count] ?? post(count)
    this.#restarts = new RestartLimit(settings.maxRestarts, settings.restartWindowMs)
    this.#watch = new ThreadWatch({
      clock: options.clock,
      log: options.log,
      settings,
      threads: () => this.#threads,
      lingering: () => this.lingering,
    })
  }

  /**
   * Resolves when every thread has loaded the actors; `ready` is called for those that replace one later, never for the
   * first ones. Rejects, with nothing left running, when a thread cannot load them.
   */
  async start(listener: WorkersListener): Promise<void> {
    if (this.#listener !== undefined)
      throw new TenantryError('TENANTRY_STARTED_TWICE', 'the worker pool has been started already')
    this.#listener = listener
    this.#watch.start()
    try {
      await Promise.all(this.#posts.filter((one) => one !== this.#extra).map((one) => this.#open(one)))
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  dispatch(worker: number, dispatches: readonly Dispatch[]): void {
    const thread = this.#posts[worker]?.thread
    if (thread?.ready !== true || dispatches.length === 0) return
    const frame = packDispatches(dispatches)
    thread.send(frame, transfersOf(frame))
  }

  forget(worker: number, mailboxes: readonly number[]): void {
    const thread = this.#posts[worker]?.thread
    if (thread?.ready === true && mailboxes.length > 0) thread.send({ kind: 'forget', mailboxes }, [])
  }

  /** From now on rows go into the tables of `catalog`. */
  useCatalog(catalog: Catalog): void {
    this.#catalog = catalog
    for (const thread of this.#threads) thread.send({ kind: 'catalog', catalog }, [])
  }

  openExtra(): void {
    const { thread, restart } = this.#extra
    if (thread === undefined && restart === undefined) this.#replace(this.#extra)
  }

  closeExtra(): void {
    const { thread } = this.#extra
    this.#extra.restart?.cancel()
    this.#extra.restart = undefined
    this.#extra.thread = undefined
    thread?.lose(new TenantryError('TENANTRY_WORKER_ENDED', 'it is not needed any more'))
  }

  /** Share of the time that each thread was busy since the last call, 0 to 1; empty on Bun. */
  utilisation(): readonly number[] {
    return this.#utilisation.read(this.#threads.flatMap(({ threads }) => threads))
  }

  /** The threads that there are, by their numbers; the extra one's is `count`. */
  get threads(): ReadonlyMap<number, Worker> {
    return new Map(this.#posts.flatMap(({ number, thread }) => (thread?.threads ?? []).map((one) => [number, one])))
  }

  /** Threads that do not end although they are told to: they would hold up the process's own end. */
  get lingering(): number {
    return this.#lingering.size
  }

  /** Ends the threads; what they had not answered is never answered. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    const { clock } = this.#options
    this.#watch.stop()
    for (const { restart } of this.#posts) restart?.cancel()
    const threads = this.#threads
    for (const thread of threads) thread.send({ kind: 'stop' }, [])
    // A thread that does as it is told closes its connections; one that does not is ended all the same.
    await Promise.race([sleep(clock, stopPatienceMs), Promise.all(threads.map(({ gone }) => gone))])
    for (const thread of threads) thread.lose(new TenantryError('TENANTRY_WORKER_ENDED', 'the pool stops'))
    await Promise.race([sleep(clock, stopPatienceMs), Promise.all([...this.#lingering].map(({ gone }) => gone))])
  }

  get #threads(): readonly WorkerThread[] {
    return this.#posts.flatMap(({ thread }) => thread ?? [])
  }

  /** Starts a thread. Resolves when it is ready, after `ready` was called; rejects if it ends before. */
  #open(at: Post, ready = () => {}): Promise<void> {
    const { actors, limits, databaseUrl = '', environment, maxHeapMiB, settings } = this.#options
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const thread: WorkerThread = new WorkerThread(
      {
        actors,
        catalog: this.#catalog,
        limits,
        databaseUrl,
        environment,
        maxHeapMiB,
        beatMs: beatMsOf(settings),
        handlerTimeoutMs: settings.handlerTimeoutMs,
        tenantWeights: settings.tenantWeights,
        extra: at === this.#extra,
        places: mostAtWorker(settings.creditRecords),
      },
      this.#shapes,
      {
        // At once: its end may be the next thing that is heard of it.
        ready: () => {
          ready()
          resolve()
        },
        decided: (decisions) => this.#listener?.decided(at.number, decisions),
        logged: (message) => this.#logged(at, message),
        ended: (error, executing) => {
          if (at.thread === thread) {
            if (thread.ready) this.#ended(at, error, executing)
            else reject(error)
          }
          this.#lingering.add(thread)
          void thread.gone.then(() => this.#lingering.delete(thread))
        },
        strayed: (error) =>
          this.#options.log.warn('worker.error', crash(error), 'A worker thread failed outside its task.'),
      },
    )
    at.thread = thread
    return promise
  }

  #logged({ number: worker }: Post, { lines, dropped }: Extract<FromWorker, { kind: 'log' }>): void {
    const { log } = this.#options
    for (const { level, event, fields, sentence } of lines) log[level](event, { ...fields, worker }, sentence)
    if (dropped > 0)
      log.warn(
        'worker.log_dropped',
        { worker, dropped },
        'An actor logs faster than its lines can be written; the rest was dropped.',
      )
  }

  #ended(at: Post, error: Error, executing: readonly Executing[]): void {
    if (this.#stopping !== undefined) return
    at.thread = undefined
    const { log } = this.#options
    log.error(
      'worker.lost',
      { worker: at.number, executing: executing.length, ...crash(error) },
      'A worker thread ended or had to be ended; it is replaced, and its records run again.',
    )
    // The extra thread is there to be lost: what it runs has a limit of its own.
    const counts = at !== this.#extra || (executing.length === 0 && !isOurs(error))
    if (counts) this.#countRestart(error)
    if (this.#lingering.size > this.#options.settings.maxRestarts)
      this.#giveUp(`${this.#lingering.size} worker threads were ended and have not`, error)
    this.#listener?.lost(at.number, error, executing)
    if (at !== this.#extra) this.#replace(at)
  }

  #replace(at: Post): void {
    if (this.#failed || this.#stopping !== undefined) return
    at.restart = undefined
    this.#open(at, () => {
      at.failures = 0
      this.#listener?.ready(at.number)
    }).catch((error: unknown) => this.#startFailed(at, errorOf(error)))
  }

  #startFailed(at: Post, error: Error): void {
    at.thread = undefined
    if (this.#stopping !== undefined) return
    this.#options.log.error(
      'worker.start_failed',
      { worker: at.number, error: error.message },
      'A replacement for a worker thread could not start; it is tried again.',
    )
    this.#countRestart(error)
    if (!this.#failed)
      at.restart = this.#options.clock.after(backOffMs(++at.failures, startRetryMs), () => this.#replace(at))
  }

  #countRestart(error: Error): void {
    const { maxRestarts, restartWindowMs } = this.#options.settings
    if (this.#restarts.note(this.#options.clock.monotonic()))
      this.#giveUp(`worker threads ended more than ${maxRestarts} times within ${restartWindowMs} ms`, error)
  }

  #giveUp(what: string, last: Error): void {
    if (this.#failed) return
    this.#failed = true
    this.#options.failed(
      new TenantryError(
        'TENANTRY_WORKERS_FAIL',
        `${what}, the last time by ${crash(last).error}: the log has them all as worker.lost and worker.start_failed`,
        {},
        { cause: last },
      ),
    )
  }
}

function post(number: number): Post {
  return { number, thread: undefined, failures: 0, restart: undefined }
}

/** Replaced by our own will, and not because it fails. */
function isOurs(error: Error): boolean {
  return error instanceof TenantryError && error.code === abandonedCode
}

/** What ended a thread, and where. Its message may quote what the actor worked on. */
function crash(error: Error): { readonly error: string; readonly at: string } {
  // Ours says where it was noticed.
  const at = error instanceof TenantryError ? undefined : /^ +at (.+)$/m.exec(error.stack ?? '')?.[1]
  return { error: 'code' in error ? String(error.code) : error.name, at: at ?? '' }
}
