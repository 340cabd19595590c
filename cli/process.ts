import { constants } from 'node:os'
import { codeOf, messageOf } from '../core/errors.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import type { PinoLog } from '../core/pino-log.ts'
import { exitCode, exitCodeOf } from './exit.ts'

/** A daemon as a process has it. */
export type Served = Lifecycle & {
  /** Records in flight that the drain did not wait for. */
  readonly abandoned: number
  /** Threads that do not end although they were told to. */
  readonly lingering: number
  /** Says in the log what its threads do. */
  dumpThreads(): Promise<void>
}

/** SIGHUP too: a closed terminal must not cut a commit's effects off from their log lines. */
const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/**
 * The daemon as a process, PID 1 included: starts it, drains it at the first signal, ends at once at the second, and
 * ends with the documented exit code. What nobody caught ends it, too: what is in PostgreSQL is whole, and a new process
 * goes on from there.
 */
export class Process {
  readonly runtime =
    process.versions['bun'] === undefined ? `node ${process.versions.node}` : `bun ${process.versions['bun']}`
  readonly #log: PinoLog
  #daemon: Served | undefined
  #stop: (() => void) | undefined
  #signalled = false
  #failure: unknown
  #failed = false

  constructor(log: PinoLog) {
    this.#log = log
    for (const signal of signals) process.on(signal, () => this.#onSignal(signal))
    // A module that prints past the log must not end a daemon whose reader has gone, as it ends a command.
    for (const stream of [process.stdout, process.stderr]) stream.removeAllListeners('error').on('error', () => {})
    process.on('exit', this.#onExit)
    process.on('SIGUSR2', () => void this.#daemon?.dumpThreads())
    for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
      process.on(event, (thrown: unknown) => {
        const stack = thrown instanceof Error ? (thrown.stack ?? '') : ''
        this.#log.error(
          'daemon.bug',
          { reason: messageOf(thrown), stack },
          'An error that nobody caught; the process ends and can be started again.',
        )
        this.#end(exitCode('bug'), true)
      })
    }
  }

  /** The daemon cannot go on: drain what can be, and end with this error's code. */
  fail(error: unknown): void {
    if (!this.#failed) {
      this.#failed = true
      this.#failure = error
      this.#log.error('daemon.failed', { code: codeOf(error), reason: messageOf(error) }, 'The daemon cannot go on.')
    }
    this.#stop?.()
  }

  /** Runs until a signal or a failure, then drains and ends the process. */
  async run(daemon: Served): Promise<void> {
    this.#daemon = daemon
    const stopped = new Promise<void>((resolve) => {
      this.#stop = resolve
    })
    if (this.#signalled || this.#failed) this.#stop?.()
    // A start that waits for Kafka or PostgreSQL must be stoppable as well.
    daemon.start().catch((error: unknown) => {
      if (!this.#signalled) this.fail(error)
    })
    // The event loop has nothing else to wait for while the daemon waits for its servers.
    const keepAlive = setInterval(() => {}, 60_000)
    await stopped
    try {
      await daemon.stop()
    } catch (error) {
      this.fail(error)
    }
    clearInterval(keepAlive)
    this.#end(this.#failed ? exitCodeOf(this.#failure) : daemon.abandoned > 0 ? exitCode('partial') : exitCode('ok'))
  }

  #onSignal(signal: (typeof signals)[number]): void {
    if (this.#signalled) {
      this.#log.warn('daemon.forced', { signal }, 'A second signal: the process ends at once.')
      this.#end(128 + constants.signals[signal], true)
    }
    this.#signalled = true
    this.#log.info('daemon.signal', { signal }, 'The daemon drains and ends; a second signal ends it at once.')
    this.#stop?.()
  }

  /** Code in this process that calls `process.exit`, such as a driver's, must not look like a daemon that was told to go. */
  readonly #onExit = (code: number) => {
    if (code !== 0) return
    this.#log.error(
      'daemon.exited',
      {},
      'Code in this process has ended it by process.exit; actors’ code can end its own thread alone.',
    )
    this.#log.flush()
    process.exitCode = exitCode('failed')
  }

  /** Whatever a driver may have left open must not keep a drained process, nor an actor's code one that is told to go. */
  #end(code: number, atOnce = false): never {
    this.#log.flush()
    process.off('exit', this.#onExit)
    if (atOnce || (this.#daemon?.lingering ?? 0) > 0) leave(code)
    process.exit(code)
  }
}

/**
 * Ends the process without waiting for its threads. Node's own exit waits until each has ended, which one in a call of the
 * operating system's does when that returns; another program in this one's place has no threads. Bun does not wait.
 */
function leave(code: number): void {
  try {
    process.execve?.(process.execPath, [process.execPath, '-e', `process.exit(${code})`], {})
  } catch {} // then as usual
}
