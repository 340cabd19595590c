import { readFileSync, statSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Crew, Member } from './crew.ts'
import type { Daemon } from './daemon.ts'
import type { Findings } from './findings.ts'

const everyMs = 500
/** More new connections a second than this, of one daemon to one server over some seconds, are a hot loop. */
const maxConnectionsPerSecond = 25
/** The same for lines of its log. */
const maxLogBytesPerSecond = 40_000
const windowMs = 5_000
/** Resident memory of a daemon, in MiB, that no fault here explains: its budget is far below. */
const maxResidentMiB = 900

/** What was seen of one daemon's process. */
type Seen = {
  readonly daemon: Daemon
  /** Its last answer when asked whether it is ready; undefined where it gave none. */
  ready: boolean | undefined
  reasons: string
  /** When it was last not ready, by the monotonic clock. */
  unreadyAt: number
  readonly counts: { readonly at: number; readonly opened: readonly number[]; readonly logBytes: number }[]
}

/** Looks from outside, all the time, whether daemons behave: what they say of themselves, and what they use. */
export class Inspector {
  readonly #crew: Crew
  readonly #findings: Findings
  readonly #seen = new Map<Member, Seen>()
  readonly #running: Promise<void>
  #stopped = false
  /** What went beyond its bounds since it was last asked for: what, and the most of it. */
  readonly #beyond = new Map<string, number>()
  /** The most that was seen, for the report. */
  readonly most = { connectionsPerSecond: 0, logBytesPerSecond: 0, residentMiB: 0 }

  constructor(crew: Crew, findings: Findings) {
    this.#crew = crew
    this.#findings = findings
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  /** Resolves when every daemon that should says that it is ready; a finding when that takes longer than `deadlineMs`. */
  async allReady(deadlineMs: number, after: string, signal: AbortSignal): Promise<void> {
    const begun = performance.now()
    for (;;) {
      const waiting = this.#expected().filter((member) => this.#seen.get(member)?.ready !== true)
      if (waiting.length === 0 || signal.aborted) return
      if (performance.now() - begun > deadlineMs) {
        for (const member of waiting)
          this.#findings.add(
            `${member.post.name} is not ready ${deadlineMs / 1_000} s after all works again after ${after}: ${this.#seen.get(member)?.reasons ?? 'no answer'}`,
          )
        return
      }
      await pause(everyMs / 2)
    }
  }

  /** A finding for every daemon that ran since `from` and never said meanwhile that it is not ready. */
  nobodyWasReady(from: number, what: string): void {
    for (const member of this.#expected()) {
      const seen = this.#seen.get(member)
      if (seen !== undefined && member.startedAt < from && seen.unreadyAt < from)
        this.#findings.add(`${member.post.name} said that it was ready all the time of ${what}`)
    }
  }

  /** Makes findings of what daemons used too much of, since the last call. */
  settle(what: string): void {
    for (const [text, most] of this.#beyond) this.#findings.add(`${text}: ${Math.round(most)}, during ${what}`)
    this.#beyond.clear()
  }

  #watchBound(text: string, value: number, bound: number): void {
    if (value > bound) this.#beyond.set(text, Math.max(value, this.#beyond.get(text) ?? 0))
  }

  #expected(): readonly Member[] {
    return this.#crew.members.filter((member) => member.running !== undefined && !member.excused)
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await Promise.all(this.#crew.members.map((member) => this.#look(member)))
      await pause(everyMs)
    }
  }

  async #look(member: Member): Promise<void> {
    const daemon = member.running
    if (daemon === undefined) return
    let seen = this.#seen.get(member)
    if (seen?.daemon !== daemon) {
      seen = { daemon, ready: undefined, reasons: '', unreadyAt: 0, counts: [] }
      this.#seen.set(member, seen)
    }
    const answer = await daemon.readiness()
    seen.ready = answer?.ready
    seen.reasons = answer?.reasons.join('; ') ?? 'no answer'
    if (answer?.ready !== true) seen.unreadyAt = performance.now()
    this.#count(member, seen)
    this.#weigh(member, daemon)
  }

  #count(member: Member, seen: Seen): void {
    const { link, name } = member.post
    const opened = link === undefined ? [] : [...link.kafka, link.postgres].map((proxy) => proxy.opened)
    const now = performance.now()
    const { counts } = seen
    counts.push({ at: now, opened, logBytes: statSync(seen.daemon.logFile).size })
    while (counts[1] !== undefined && now - counts[1].at >= windowMs) counts.shift()
    const [first, newest] = [counts[0], counts.at(-1)]
    if (first === undefined || newest === undefined || now - first.at < windowMs) return
    const perSecond = (count: number) => (count * 1_000) / (now - first.at)
    for (const [i, count] of newest.opened.entries()) {
      const rate = perSecond(count - (first.opened[i] ?? 0))
      const server = i < newest.opened.length - 1 ? `broker ${i + 1}` : 'PostgreSQL'
      this.most.connectionsPerSecond = Math.max(this.most.connectionsPerSecond, Math.round(rate))
      this.#watchBound(`connections a second of ${name} to ${server}`, rate, maxConnectionsPerSecond)
    }
    const bytes = perSecond(newest.logBytes - first.logBytes)
    this.most.logBytesPerSecond = Math.max(this.most.logBytesPerSecond, Math.round(bytes))
    this.#watchBound(`bytes of log a second of ${name}`, bytes, maxLogBytesPerSecond)
  }

  #weigh(member: Member, daemon: Daemon): void {
    const resident = residentMiB(daemon.pid)
    this.most.residentMiB = Math.max(this.most.residentMiB, resident)
    this.#watchBound(`MiB resident of ${member.post.name}`, resident, maxResidentMiB)
  }
}

/** 0 where it has gone, or nobody can tell. */
function residentMiB(pid: number): number {
  try {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return Math.round(Number(kib ?? 0) / 1_024)
  } catch {
    return 0
  }
}
