import type { TenantryError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Partition } from './partition.ts'

/** Reasons why something that the daemon needs is away, by what it concerns. */
export type Troubles = ReadonlyMap<string, string>

/** Reasons of one trouble that are logged; whoever looks for more finds the present one in readiness. */
const mostLogged = 10

/** What keeps the daemon from being ready: something it needs is away, or partitions are not ours yet or have stopped. */
export class Readiness {
  readonly #log: Log
  readonly #failed: (error: TenantryError) => void
  readonly #troubles = new Map<string, string>()
  /** Of each trouble the reasons that were logged. */
  readonly #logged = new Map<string, Set<string>>()

  /** `failed`: the daemon cannot go on. Called once at most. */
  constructor(log: Log, failed: (error: TenantryError) => void) {
    this.#log = log
    this.#failed = failed
  }

  get troubles(): Troubles {
    return this.#troubles
  }

  /** One sentence each; empty when nothing keeps it. */
  reasons(partitions: Iterable<Partition>): string[] {
    const reasons = [...this.#troubles].map(([what, reason]) => `${what}: ${reason}`)
    for (const { topic, partition, phase, reason } of partitions) {
      if (phase !== 'claiming' && phase !== 'stopped') continue
      reasons.push(`${topic}-${partition} is ${phase}${reason === '' ? '' : `: ${reason}`}`)
    }
    return reasons
  }

  /** `what` is away, and why; null: it works again. */
  trouble(what: string, reason: string | null): void {
    if (reason === null) {
      this.#logged.delete(what)
      if (this.#troubles.delete(what)) this.#log.info('trouble.ended', { what }, 'It works again.')
      return
    }
    this.#troubles.set(what, reason)
    const logged = this.#logged.get(what) ?? new Set()
    // Each broker in turn refuses the connection, and each would be another line, every second.
    if (logged.has(reason) || logged.size >= mostLogged) return
    this.#logged.set(what, logged.add(reason))
    this.#log.warn('trouble', { what, reason }, 'Something the daemon needs is away; it waits and tries again.')
  }

  fatal(error: TenantryError): void {
    if (this.#troubles.has('fatal')) return
    this.#log.error(
      'engine.fatal',
      { code: error.code, ...error.facts, error: error.message },
      'The daemon cannot do its work any more.',
    )
    this.#troubles.set('fatal', error.message)
    this.#failed(error)
  }
}
