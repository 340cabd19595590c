import { MessageChannel, type MessagePort, receiveMessageOnPort, type Worker } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { DecisionUnpacker } from '../actors/decision-unpacker.ts'
import type { FromWorker, ToWorker, WorkerSetup } from '../actors/thread-messages.ts'
import { Vitals } from '../actors/vitals.ts'
import type { Shape } from '../core/effects.ts'
import { errorOf, TenantryError } from '../core/errors.ts'
import type { Decision, Executing } from '../core/workers.ts'
import { memoryCode, type Watched } from './thread-watch.ts'

/**
 * What a thread may use for young objects. Node's own choice grows with the machine's memory: on one of 24 GiB the daemon
 * had 591 MB at its peak, and has 500 MB with this, for the same CPU time; with half of it, a tenth more of that.
 */
const youngMiB = 48

export type ThreadOptions = Omit<WorkerSetup, 'port' | 'vitals'> & {
  /** Mailboxes that it may execute at once. */
  readonly places: number
  /** `process.env` of the thread, a copy; the process's own when left out. */
  readonly environment: Readonly<NodeJS.ProcessEnv> | undefined
  /** Heap in MiB; Node's own default when undefined. */
  readonly maxHeapMiB: number | undefined
}

export type ThreadEvents = {
  ready(): void
  decided(decisions: readonly Decision[]): void
  logged(lines: Extract<FromWorker, { kind: 'log' }>): void
  /** Called once: it has ended, or counts as ended. One of `executing` may have done it. */
  ended(error: Error, executing: readonly Executing[]): void
  /** It failed outside its task: after its end, as a rule. */
  strayed(error: Error): void
}

/**
 * One thread from its start to its end. It runs one task of Piscina's for as long as it lives, with a port over which
 * packed frames go, because a task a message would cost more than the message.
 */
export class WorkerThread implements Watched {
  readonly extra: boolean
  /** It has loaded the actors. */
  ready = false
  /** Resolves when it has ended indeed, which a thread in a call of the operating system's does when that returns. */
  readonly gone: Promise<void>
  readonly #vitals: Vitals
  readonly #piscina: Piscina
  readonly #port: MessagePort
  readonly #unpacker: DecisionUnpacker
  readonly #events: ThreadEvents
  readonly #gone = Promise.withResolvers<void>()
  #began: Executing | undefined
  #over = false
  #signOfLife = 0
  #silentMs = 0

  constructor(options: ThreadOptions, shapes: Map<string, Shape>, events: ThreadEvents) {
    const { places, environment, maxHeapMiB, ...setup } = options
    this.extra = options.extra
    this.#events = events
    this.#unpacker = new DecisionUnpacker(shapes)
    this.#vitals = new Vitals(Vitals.memoryFor(places))
    this.gone = this.#gone.promise
    this.#piscina = new Piscina({
      filename: new URL('../actors/worker.ts', import.meta.url).href,
      // Of one thread, and not replaced behind our back when it ends.
      minThreads: 0,
      maxThreads: 1,
      concurrentTasksPerWorker: 1,
      idleTimeout: Infinity,
      // The thread must keep its event loop: its work comes by a port of our own.
      atomics: 'disabled',
      recordTiming: false,
      ...(environment !== undefined && { env: { ...environment } }),
      ...(maxHeapMiB !== undefined && {
        resourceLimits: { maxOldGenerationSizeMb: maxHeapMiB, maxYoungGenerationSizeMb: youngMiB },
      }),
    })
    this.#piscina.on('error', (error: unknown) => events.strayed(errorOf(error)))
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    port1.on('message', (message: FromWorker) => this.#hear(message))
    const task: WorkerSetup = { ...setup, port: port2, vitals: this.#vitals.memory }
    this.#piscina.run(task, { transferList: [port2] }).then(
      () => this.lose(new TenantryError('TENANTRY_WORKER_ENDED', 'a worker thread ended its task by itself')),
      (error: unknown) => this.lose(errorOf(error)),
    )
  }

  /** Piscina's thread, for its figures. */
  get threads(): readonly Worker[] {
    return this.#piscina.threads
  }

  send(message: ToWorker, transfer: ArrayBuffer[]): void {
    if (!this.#over) this.#port.postMessage(message, transfer)
  }

  /**
   * It counts as ended from here on, whether it has ended, will, or never does: what it has said by now is heard, and
   * what it says from now on is not.
   */
  lose(error: Error, options: { readonly blameless?: boolean } = {}): void {
    if (this.#over) return
    // What it had answered before still lies in its port: it was decided, and it counts.
    for (let rest = nextMessage(this.#port); rest !== undefined; rest = nextMessage(this.#port)) this.#hear(rest)
    this.#over = true
    // Before the port closes: a thread that lives hears that, and then executes nothing.
    const executing = options.blameless === true ? [] : this.#executing(error)
    this.#port.close()
    void this.#piscina.destroy().then(this.#gone.resolve)
    this.#events.ended(error, executing)
  }

  get heldBytes(): number {
    return this.#vitals.heldBytes
  }

  get abandoned(): number {
    return this.#vitals.abandoned
  }

  silentFor(passedMs: number): number {
    const { signOfLife } = this.#vitals
    this.#silentMs = signOfLife === this.#signOfLife ? this.#silentMs + passedMs : 0
    this.#signOfLife = signOfLife
    return this.#silentMs
  }

  #hear(message: FromWorker): void {
    if (this.#over) return
    switch (message.kind) {
      case 'ready':
        this.ready = true
        this.#events.ready()
        return
      case 'decisions':
        this.#events.decided(this.#unpacker.unpack(message))
        return
      case 'began':
        this.#began = message
        return
      case 'log':
        this.#events.logged(message)
    }
  }

  /**
   * Those that may have ended it. Where code of one mailbox's had the thread from its record's begin on, it was that one;
   * but for memory, which whoever wants the last of it need not have used up.
   */
  #executing(error: Error): readonly Executing[] {
    const { executingNow } = this.#vitals
    const found = executingNow === undefined || isMemory(error) ? this.#vitals.executing() : [executingNow]
    const began = this.#began
    return found.map((one) => (one.mailbox === began?.mailbox && one.offset === began.offset ? began : one))
  }
}

function isMemory(error: Error): boolean {
  return 'code' in error && (error.code === 'ERR_WORKER_OUT_OF_MEMORY' || error.code === memoryCode)
}

function nextMessage(port: MessagePort): FromWorker | undefined {
  const received: { message: FromWorker } | undefined = receiveMessageOnPort(port)
  return received?.message
}
