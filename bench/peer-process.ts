import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { TenantryError } from '../core/errors.ts'
import { type Assignment, assignmentVariable, type PeerCommand, progressLine } from './peers/peer.ts'
import type { Reached, Subject } from './subject.ts'

/** How long a peer may take to end. */
const stopPatienceMs = 30_000

/** A peer's program as a process of its own. */
export class PeerProcess implements Subject {
  readonly startedAt = Date.now()
  readonly folders: readonly string[]
  readonly ended: Promise<never>
  readonly #name: string
  readonly #child: ChildProcess
  readonly #logFile: string
  /** Its exit code, or the signal that ended it, once all it said was heard. */
  readonly #exit: Promise<string>
  #told = false
  #readyAt: number | undefined
  #reached: Reached = { records: 0, at: this.startedAt }

  constructor(name: string, { program, args, env = {} }: PeerCommand, assignment: Assignment) {
    const folder = mkdtempSync(join(tmpdir(), 'tenantry-bench-'))
    this.#name = name
    this.folders = [folder]
    this.#logFile = join(folder, 'peer.log')
    const log = openSync(this.#logFile, 'w')
    this.#child = spawn(program, args, {
      cwd: folder,
      env: { ...process.env, ...env, [assignmentVariable]: JSON.stringify(assignment) },
      stdio: ['ignore', 'pipe', log],
    })
    closeSync(log)
    if (this.#child.stdout !== null) createInterface(this.#child.stdout).on('line', (line) => this.#hear(line))
    this.#exit = new Promise((done, fail) => {
      this.#child.once('error', fail)
      this.#child.once('close', (code, signal) => done(String(code ?? signal)))
    })
    this.ended = this.#exit.then((how) => {
      if (this.#told) return new Promise<never>(() => {})
      throw this.#error(`ended by itself (${how})`)
    })
    this.ended.catch(() => {}) // whoever waits for something else races against it
  }

  get pids(): readonly number[] {
    return [this.#child.pid ?? 0]
  }

  readyAt(): number | undefined {
    return this.#readyAt
  }

  /** As it said last. */
  async done(): Promise<Reached> {
    return this.#reached
  }

  async stop(): Promise<void> {
    this.#told = true
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), stopPatienceMs)
    try {
      const how = await this.#exit
      if (how !== '0') throw this.#error(`did not end as told (${how})`)
    } finally {
      clearTimeout(timer)
    }
  }

  async kill(): Promise<void> {
    this.#told = true
    this.#child.kill('SIGKILL')
    await this.#exit.catch(() => {}) // it never was there
  }

  logEnd(lines = 15): string {
    return readFileSync(this.#logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n')
  }

  #hear(line: string): void {
    const { data } = progressLine.safeParse(parsed(line))
    if (data === undefined) return
    if ('ready' in data) this.#readyAt = data.ready
    else this.#reached = { records: data.done, at: data.at }
  }

  #error(what: string): TenantryError {
    return new TenantryError(
      'TENANTRY_PEER_ENDED',
      `The peer ${this.#name} ${what}. The end of its log, ${this.#logFile}:\n${this.logEnd()}`,
      { logFile: this.#logFile },
    )
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // something else than the peer's own code wrote there
  }
}
