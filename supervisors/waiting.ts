import type { Clock } from '../core/clock.ts'
import { codeOf, messageOf } from '../core/errors.ts'
import type { Log } from '../core/log.ts'

const firstPauseMs = 200
const longestPauseMs = 5_000

/**
 * Waits, at start, for what the daemon cannot do without: it tries again with backoff for as long as it takes, and says
 * meanwhile what it waits for. An error whose code is in `final` is not waited out.
 */
export class Waiting {
  readonly #clock: Clock
  readonly #log: Log
  readonly #reasons = new Map<string, string>()
  #cancelled = false

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  /** What is missing, one sentence each; empty when nothing is. */
  get reasons(): readonly string[] {
    return [...this.#reasons].map(([what, reason]) => `${what}: ${reason}`)
  }

  /** Ends every wait: `until` then rejects with the last reason. */
  cancel(): void {
    this.#cancelled = true
  }

  /** The result of the first `attempt` that succeeds. */
  async until<T>(what: string, final: ReadonlySet<string>, attempt: () => Promise<T>): Promise<T> {
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
      try {
        const result = await attempt()
        if (this.#reasons.delete(what)) this.#log.info('start.found', { what }, 'What the daemon waited for is there.')
        return result
      } catch (thrown) {
        if (this.#cancelled || final.has(codeOf(thrown))) throw thrown
        const reason = messageOf(thrown)
        if (this.#reasons.get(what) !== reason)
          this.#log.warn('start.waiting', { what, reason }, 'The daemon waits for something it needs.')
        this.#reasons.set(what, reason)
        await new Promise<void>((resolve) => this.#clock.after(pauseMs, resolve))
      }
    }
  }
}
