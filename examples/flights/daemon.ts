import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { checkout } from '../../cli/dev/programs.ts'
import { TenantryError } from '../../core/errors.ts'
import { type Runtime, requireProgram } from '../../tools/run/runtime.ts'
import { endOf } from './stage.ts'

const stopPatienceMs = 60_000

/** `tenantry start` as a process of its own, as anybody would run it. */
export class Daemon {
  /** Rejects when it ends without being told to. */
  readonly failed: Promise<never>
  readonly logFile: string
  readonly #child: ChildProcess
  readonly #exited: Promise<number | string>
  #told = false
  #url: string | undefined

  constructor(runtime: Runtime, configFile: string, logFile: string) {
    this.logFile = logFile
    const log = openSync(logFile, 'w')
    this.#child = spawn(requireProgram(runtime), [join(checkout, 'cli/main.ts'), '--config', configFile, 'start'], {
      cwd: checkout,
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    this.#exited = new Promise((resolve, reject) => {
      this.#child.once('error', reject)
      this.#child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown'))
    })
    this.failed = this.#exited.then((how) => {
      if (this.#told) return new Promise<never>(() => {})
      throw new TenantryError(
        'TENANTRY_DEMO_DAEMON',
        `The daemon ended by itself (${how}). The end of its log, ${logFile}:\n${endOf(logFile, 8)}`,
      )
    })
    this.failed.catch(() => {}) // whoever waits for something else races against it
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Says so itself: from here on it drains when it is told to end. */
  get started(): boolean {
    return readFileSync(this.logFile, 'utf8').includes('"event":"daemon.started"')
  }

  /** Its metrics by name and labels, as Prometheus reads them; nothing while it does not answer. */
  async metrics(): Promise<ReadonlyMap<string, number>> {
    this.#url ??= /"url":"([^"]+)"/.exec(readFileSync(this.logFile, 'utf8'))?.[1]
    if (this.#url === undefined) return new Map()
    try {
      const text = await (await fetch(`${this.#url}/metrics`, { signal: AbortSignal.timeout(2_000) })).text()
      const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
      return new Map(
        lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
      )
    } catch {
      return new Map()
    }
  }

  /** SIGKILL: no time for a last word. */
  async kill(): Promise<void> {
    this.#told = true
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  /** SIGTERM. Throws TENANTRY_DEMO_DAEMON unless it ends as a drained daemon does. */
  async drain(): Promise<void> {
    this.#told = true
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), stopPatienceMs)
    const how = await this.#exited
    clearTimeout(timer)
    if (how === 0) return
    throw new TenantryError(
      'TENANTRY_DEMO_DAEMON',
      `The daemon did not drain (${how}). The end of its log, ${this.logFile}:\n${endOf(this.logFile, 8)}`,
    )
  }
}
