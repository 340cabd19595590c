import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { TenantryError } from '../../core/errors.ts'
import { httpGet } from '../../core/http-get.ts'
import { withoutSettings } from './environment.ts'
import { samplesOf } from './metric-samples.ts'

export type DaemonProcessOptions = {
  /** Its runtime; this process's own when left out. */
  readonly program?: string
  /** Flags of the runtime. */
  readonly flags?: readonly string[]
  /** The checkout whose daemon runs; this one when left out. */
  readonly checkout?: string
  /** Of the command line, `start` with them. */
  readonly args: readonly string[]
  readonly cwd: string
  /** All of its environment; this process's without settings when left out. */
  readonly env?: Readonly<NodeJS.ProcessEnv>
  /** Takes all that it says. */
  readonly logFile: string
}

const line = z.looseObject({ event: z.string() })

/** A line of a daemon's log. */
export type LogLine = z.infer<typeof line>

const readiness = z.looseObject({ ready: z.boolean(), reasons: z.array(z.string()) })

/** Whether a daemon can do its work, and why not. */
export type Readiness = z.infer<typeof readiness>

/** How long a daemon may take to end. */
const stopPatienceMs = 60_000

/** `tenantry start` in a process of its own, as anybody would run it: watched by its log and metrics, ended by signals. */
export class DaemonProcess {
  readonly logFile: string
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>
  /** Rejects with TENANTRY_DAEMON_ENDED when it ends without being told to; never resolves. */
  readonly failed: Promise<never>
  readonly #child: ChildProcess
  #told = false
  #url: string | undefined
  /** Bytes of its log that were read, and what they hold. */
  #read = 0
  readonly #events = new Map<string, LogLine[]>()

  constructor(options: DaemonProcessOptions) {
    const { program = process.execPath, flags = [], args, cwd, env = withoutSettings(), logFile } = options
    const checkout = options.checkout ?? resolve(import.meta.dirname, '../..')
    this.logFile = logFile
    const log = openSync(logFile, 'w')
    this.#child = spawn(program, [...flags, join(checkout, 'cli/main.ts'), ...args], {
      cwd,
      env,
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    this.ended = new Promise((done, fail) => {
      this.#child.once('error', fail)
      this.#child.once('exit', (code, signal) => done(code ?? signal ?? 'unknown'))
    })
    this.failed = this.ended.then((how) => {
      if (this.#told) return new Promise<never>(() => {})
      throw this.#error(`The daemon ended by itself (${how})`)
    })
    this.failed.catch(() => {}) // whoever waits for something else races against it
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** SIGKILL: no time for a last word. Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#told = true
    this.signal('SIGKILL')
    await this.ended.catch(() => {}) // it never was there
  }

  /** SIGTERM, and SIGKILL where that does not help. Resolves with its exit code, or the signal that ended it. */
  async stop(): Promise<number | string> {
    this.#told = true
    this.signal('SIGTERM')
    const timer = setTimeout(() => this.signal('SIGKILL'), stopPatienceMs)
    try {
      return await this.ended
    } finally {
      clearTimeout(timer)
    }
  }

  /** As `stop`. Throws TENANTRY_DAEMON_ENDED unless it ends as a drained daemon does. */
  async drain(): Promise<void> {
    const how = await this.stop()
    if (how !== 0) throw this.#error(`The daemon did not drain (${how})`)
  }

  /** All that it has said. */
  log(): string {
    return readFileSync(this.logFile, 'utf8')
  }

  logEnd(lines = 15): string {
    return this.log().trimEnd().split('\n').slice(-lines).join('\n')
  }

  /** Its log lines with this event. */
  events(name: string): readonly LogLine[] {
    this.#readOn()
    return this.#events.get(name) ?? []
  }

  /** Its metrics by name and labels; none while it does not answer. */
  async metrics(): Promise<ReadonlyMap<string, number>> {
    const answer = await this.#ask('/metrics')
    return answer === undefined ? new Map() : samplesOf(answer)
  }

  /** What it says of itself when asked whether it is ready; undefined while it does not answer. */
  async readiness(): Promise<Readiness | undefined> {
    const answer = await this.#ask('/health/ready')
    return readiness.safeParse(parsed(answer ?? '')).data
  }

  async #ask(path: string): Promise<string | undefined> {
    this.#url ??= urlOf(this.events('http.listening')[0])
    if (this.#url === undefined) return undefined
    try {
      return (await httpGet(`${this.#url}${path}`, 2_000)).text
    } catch {
      return undefined
    }
  }

  /** Reads the lines that are new: whoever waits for one asks many times a second. */
  #readOn(): void {
    const file = openSync(this.logFile, 'r')
    try {
      const bytes = Buffer.alloc(Math.max(0, fstatSync(file).size - this.#read))
      readSync(file, bytes, 0, bytes.length, this.#read)
      const whole = bytes.subarray(0, bytes.lastIndexOf('\n') + 1)
      this.#read += whole.length
      for (const text of whole.toString().split('\n')) {
        const found = line.safeParse(parsed(text)).data
        if (found === undefined) continue
        const before = this.#events.get(found.event)
        if (before === undefined) this.#events.set(found.event, [found])
        else before.push(found)
      }
    } finally {
      closeSync(file)
    }
  }

  #error(what: string): TenantryError {
    return new TenantryError(
      'TENANTRY_DAEMON_ENDED',
      `${what}. The end of its log, ${this.logFile}:\n${this.logEnd()}`,
      { logFile: this.logFile },
    )
  }
}

function urlOf(listening: LogLine | undefined): string | undefined {
  return typeof listening?.['url'] === 'string' ? listening['url'] : undefined
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // something else than its log wrote there
  }
}
