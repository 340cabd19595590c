import { readdirSync, readFileSync } from 'node:fs'
import type postgres from 'postgres'

/** Processor seconds between two moments, and what else the machine did. */
export type Usage = {
  readonly subject: number
  /** The connections to the run's database, and PostgreSQL's own background processes. */
  readonly postgres: number
  /** The brokers, whoever they work for; null when they are not known. */
  readonly brokers: number | null
  /** Share of the machine that was busy with none of these, nor with the bench: 0 on a machine of its own. */
  readonly others: number
}

type Sample = {
  readonly at: number
  readonly subject: number
  readonly postgres: number
  readonly brokers: number
  readonly self: number
  readonly busy: number
  readonly all: number
}

/** Fields of /proc/…/stat count in this. */
const ticksASecond = 100

const intervalMs = 200

/** Reads, five times a second, how much processor time everybody has had. From outside: nobody is asked. */
export class Meter {
  readonly #pids: () => readonly number[]
  readonly #database: postgres.Sql
  readonly #brokers: readonly number[]
  readonly #samples: Sample[] = []
  /** A process that has ended keeps what it had. */
  readonly #subjects = new Map<number, number>()
  readonly #backends = new Map<number, { readonly base: number; last: number }>()
  #timer: NodeJS.Timeout | undefined
  #rounds = 0

  constructor(options: {
    /** The subject's processes so far. */
    readonly pids: () => readonly number[]
    readonly sql: postgres.Sql
    readonly brokers: readonly number[]
  }) {
    this.#pids = options.pids
    this.#database = options.sql
    this.#brokers = options.brokers
  }

  async start(): Promise<void> {
    await this.#findBackends()
    this.#sample()
    this.#timer = setInterval(() => {
      this.#sample()
      // Connections come and go; they are few.
      if (++this.#rounds % 5 === 0) this.#findBackends().catch(() => {})
    }, intervalMs)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#sample()
  }

  /** What was used between two moments, in milliseconds since 1970. */
  between(from: number, to: number): Usage {
    const at = (moment: number) => {
      const after = this.#samples.findIndex((sample) => sample.at >= moment)
      const last = this.#samples[after < 0 ? this.#samples.length - 1 : after]
      const first = this.#samples[Math.max(0, after - 1)]
      if (first === undefined || last === undefined) return (): number => 0
      const part = last.at === first.at ? 0 : Math.min(1, Math.max(0, (moment - first.at) / (last.at - first.at)))
      return (field: keyof Sample) => first[field] + (last[field] - first[field]) * part
    }
    const [before, after] = [at(from), at(to)]
    const used = (field: keyof Sample) => after(field) - before(field)
    const known = used('subject') + used('postgres') + used('brokers') + used('self')
    return {
      subject: used('subject'),
      postgres: used('postgres'),
      brokers: this.#brokers.length === 0 ? null : used('brokers'),
      others: Math.max(0, (used('busy') - known) / Math.max(1e-9, used('all'))),
    }
  }

  #sample(): void {
    for (const [pid, backend] of this.#backends) backend.last = Math.max(backend.last, secondsOf(pid))
    for (const pid of this.#pids()) this.#subjects.set(pid, Math.max(this.#subjects.get(pid) ?? 0, secondsOf(pid)))
    const subject = [...this.#subjects.values()].reduce((sum, seconds) => sum + seconds, 0)
    const postgres = [...this.#backends.values()].reduce((sum, { base, last }) => sum + last - base, 0)
    const brokers = this.#brokers.reduce((sum, pid) => sum + secondsOf(pid), 0)
    this.#samples.push({
      at: Date.now(),
      subject,
      postgres,
      brokers,
      self: secondsOf(process.pid),
      ...machineSeconds(),
    })
  }

  async #findBackends(): Promise<void> {
    const sql = this.#database
    const rows = await sql<{ pid: number; own: boolean }[]>`
      select pid, datname is not null as own
      from pg_stat_activity
      where datname = current_database()
        or (datname is null and backend_type not in ('autovacuum worker', 'parallel worker', 'walsender'))`
    for (const { pid, own } of rows) {
      if (!this.#backends.has(pid))
        this.#backends.set(pid, { base: own && this.#samples.length > 0 ? 0 : secondsOf(pid), last: secondsOf(pid) })
    }
  }
}

/** User and system time of a process, its threads and its ended children aside; 0 when it has gone. */
function secondsOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / ticksASecond
  } catch {
    return 0
  }
}

/** The most memory that a process ever had resident, in bytes; 0 when it has gone. */
export function peakMemoryOf(pid: number): number {
  return bytesOf(pid, /^VmHWM:\s+(\d+) kB/m)
}

/** The memory that a process has resident now, in bytes; 0 when it has gone. */
export function memoryOf(pid: number): number {
  return bytesOf(pid, /^VmRSS:\s+(\d+) kB/m)
}

function bytesOf(pid: number, field: RegExp): number {
  try {
    return Number(field.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** Processor seconds of a process so far by its threads' names, the busiest first: several of one name are one. */
export function threadSeconds(pid: number): Readonly<Record<string, number>> {
  const sums = new Map<string, number>()
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1')
      const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')).replace(/:?\d+$/, '')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      sums.set(name, (sums.get(name) ?? 0) + (Number(fields[11]) + Number(fields[12])) / ticksASecond)
    }
  } catch {
    // Threads end while they are read.
  }
  return Object.fromEntries(
    [...sums]
      .filter(([, seconds]) => seconds >= 0.05)
      .sort(([, a], [, b]) => b - a)
      .map(([name, seconds]) => [name, Math.round(seconds * 100) / 100]),
  )
}

function machineSeconds(): { readonly busy: number; readonly all: number } {
  const line = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0] ?? ''
  const fields = line.trim().split(/\s+/).slice(1, 9).map(Number)
  const all = fields.reduce((sum, ticks) => sum + ticks, 0)
  const idle = (fields[3] ?? 0) + (fields[4] ?? 0)
  return { busy: (all - idle) / ticksASecond, all: all / ticksASecond }
}
