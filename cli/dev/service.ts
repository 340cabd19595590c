import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { messageOf, TenantryError } from '../../core/errors.ts'
import { childrenOf, endAll, identify, RUN_MARK, signal } from '../../tools/setup/process.mjs'
import type { Program } from './programs.ts'
import { isRunning, readRecord, removeRecord, type ServiceRecord, writeRecord } from './record.ts'

/** One server process of the local cluster: a Kafka broker, PostgreSQL or Redis. */
export interface Service {
  /** `kafka-1`, `postgres`, `redis`. */
  readonly name: string
  /** `127.0.0.1:port` of what clients connect to. */
  readonly address: string
  readonly logFile: string
  /** The server's process id; undefined when it does not run. PostgreSQL: the postmaster's. */
  pid(): number | undefined
  /** Starts it, on the ports that it had, and resolves when it answers. Nothing happens when it runs already. */
  start(): Promise<void>
  /** Stops it politely (a frozen one is thawed first), by force after ten seconds; resolves when it has gone. */
  stop(): Promise<void>
  /** Sends a signal that ends it (SIGKILL when none is named), and resolves when it has gone. */
  kill(name?: NodeJS.Signals): Promise<void>
  /** Freezes it by SIGSTOP: its connections stay open and nothing answers. PostgreSQL: with all its backends. */
  pause(): void
  /** Ends a freeze by SIGCONT. */
  resume(): void
  /** `stop`, then `start`. */
  restart(): Promise<void>
}

/** What one kind of server needs to be run. */
export interface ServiceOptions {
  readonly name: string
  /** Folder of the cluster: its records and logs lie there. */
  readonly dir: string
  /** All of its ports; the first is the one that clients use. */
  readonly ports: readonly number[]
  /** What the running process must have been started with; another value means that `up` starts it again. */
  readonly settings: string
  /** What must be there before the server starts: a formatted or initialised data folder, a configuration file. */
  prepare(): Promise<void>
  program(): Program
  /** Resolves when the server answers as it should; rejects when it does not yet. */
  probe(): Promise<void>
  /** The signal for a polite stop. */
  readonly stopSignal: NodeJS.Signals
  /** How long it may take to answer, in milliseconds. */
  readonly startTimeoutMs: number
  /** Whether the process outlives the program that starts it (`dev up`), or is ended with it (tests). */
  readonly keep: boolean
  /** How the process is run when not as ourselves. */
  readonly uid?: number
}

const HELD = /lock file .* already exists|pre-existing shared memory|Failed to acquire lock/i
/** What the servers say when another process listens on their port. */
export const PORT_TAKEN = /address already in use|EADDRINUSE|BindException|could not bind/i
const MAX_LOG_BYTES = 64 * 1024 * 1024

/** A service over its record on disk: whoever made the record, this or another process, the service is the same. */
export function createService(options: ServiceOptions): Service {
  const recordFile = join(options.dir, `${options.name}.json`)
  const logFile = join(options.dir, 'log', `${options.name}.log`)

  const record = (): ServiceRecord | undefined => {
    const found = readRecord(recordFile)
    return isRunning(found) ? found : undefined
  }

  const launch = async (): Promise<ServiceRecord> => {
    mkdirSync(join(options.dir, 'log'), { recursive: true })
    if (existsSync(logFile) && statSync(logFile).size > MAX_LOG_BYTES) truncateSync(logFile, 0)
    const program = options.program()
    const log = openSync(logFile, 'a')
    // A session of its own: neither Ctrl-C nor the end of the terminal reaches it.
    const child = spawn(program.command, [...program.args], {
      cwd: options.dir,
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...environment(options.keep), ...program.env },
      ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
    })
    closeSync(log)
    const failed = new Promise<never>((_, reject) => child.once('error', reject))
    failed.catch(() => {})
    child.unref()
    const identity = child.pid === undefined ? undefined : identify(child.pid)
    if (identity === undefined) {
      const cause = await Promise.race([failed, pause(100)]).catch((thrown: unknown) => thrown)
      throw notStarted(options.name, logFile, cause === undefined ? 'it ended at once' : messageOf(cause))
    }
    const made = { ...identity, ports: [...options.ports], settings: options.settings }
    writeRecord(recordFile, made)
    return made
  }

  const answers = async (started: ServiceRecord): Promise<void> => {
    const deadline = Date.now() + options.startTimeoutMs
    let last = 'no answer'
    while (Date.now() < deadline) {
      if (!isRunning(started)) throw notStarted(options.name, logFile, 'its process has ended')
      try {
        return await options.probe()
      } catch (error) {
        last = messageOf(error)
      }
      await pause(50)
    }
    throw notStarted(options.name, logFile, `no answer within ${options.startTimeoutMs / 1000} s: ${last}`)
  }

  const start = async (): Promise<void> => {
    const running = record()
    if (running !== undefined && running.settings === options.settings) {
      signal(running, 'SIGCONT')
      return answers(running)
    }
    if (running !== undefined) await stop()
    await options.prepare()
    const begun = Date.now()
    for (;;) {
      try {
        return await answers(await launch())
      } catch (error) {
        // After a kill -9 the old lock, shared memory or port may be held for a while by what is left of the process.
        const patience = HELD.test(messageOf(error)) ? 30_000 : PORT_TAKEN.test(messageOf(error)) ? 5_000 : 0
        if (record() !== undefined || Date.now() > begun + patience) throw error
        await pause(250)
      }
    }
  }

  const end = async (name: NodeJS.Signals): Promise<void> => {
    const running = record()
    if (running === undefined) return removeRecord(recordFile)
    for (const one of family(running)) signal(one, 'SIGCONT')
    await endAll([running], name, 10_000)
    removeRecord(recordFile)
  }
  const stop = (): Promise<void> => end(options.stopSignal)

  return {
    name: options.name,
    address: `127.0.0.1:${options.ports[0]}`,
    logFile,
    pid: () => record()?.pid,
    start,
    stop,
    async kill(name = 'SIGKILL') {
      const running = record()
      if (running === undefined) return
      await endAll([running], name, 30_000)
      removeRecord(recordFile)
    },
    pause() {
      const running = record()
      if (running !== undefined) for (const one of family(running)) signal(one, 'SIGSTOP')
    },
    resume() {
      const running = record()
      if (running !== undefined) for (const one of family(running)) signal(one, 'SIGCONT')
    },
    async restart() {
      await stop()
      await start()
    },
  }
}

/** The process and those that it has forked. */
function family(record: ServiceRecord) {
  return [record, ...childrenOf(record.pid)]
}

/** Our environment, less what npm added for this run; the run's mark stays on what must end with the run. */
function environment(keep: boolean): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {}
  for (const [key, value] of Object.entries(process.env)) {
    if (key.startsWith('npm_') || (keep && key === RUN_MARK) || (keep && key === 'TENANTRY_TEST_MARK')) continue
    env[key] = value
  }
  return env
}

function notStarted(name: string, logFile: string, reason: string): TenantryError {
  let tail = ''
  try {
    tail = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-5).join('\n')
  } catch {
    // no log yet
  }
  return new TenantryError(
    'TENANTRY_DEV_SERVICE',
    `${name} did not start: ${reason}. The end of its log (${logFile}):\n${tail}`,
    { service: name },
  )
}
