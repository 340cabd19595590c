import type { Log } from '../core/log.ts'
import { codeOf, messageOf } from '../core/errors.ts'
import { type AskedKey, knownKeys } from '../core/postgres/keys.ts'
import { blameOf } from '../core/postgres/sqlstate.ts'
import type { ReadConnections } from './read-connections.ts'

/** Says which messages were committed before, by whichever daemon. */
export interface KnownKeys {
  /** For each whether its key is there. Answers come in the order of the questions; never rejects. */
  known(asked: readonly AskedKey[]): Promise<readonly boolean[]>
}

type Question = { readonly asked: readonly AskedKey[]; readonly answer: (known: readonly boolean[]) => void }

/**
 * Looks keys up in PostgreSQL, one query at a time: what is asked in one turn of the loop, or while a query is on its
 * way, goes together. While PostgreSQL is away the messages wait, as nothing of them could be committed either.
 */
export class PostgresKeys implements KnownKeys {
  readonly #connections: ReadConnections
  readonly #log: Log
  #questions: Question[] = []
  #asking = false

  constructor(connections: ReadConnections, log: Log) {
    this.#connections = connections
    this.#log = log
  }

  known(asked: readonly AskedKey[]): Promise<readonly boolean[]> {
    const { promise, resolve } = Promise.withResolvers<readonly boolean[]>()
    this.#questions.push({ asked, answer: resolve })
    if (!this.#asking) {
      this.#asking = true
      queueMicrotask(() => void this.#ask())
    }
    return promise
  }

  async #ask(): Promise<void> {
    while (this.#questions.length > 0) {
      const questions = this.#questions
      this.#questions = []
      const known = await this.#lookUp(questions.flatMap(({ asked }) => asked))
      let at = 0
      for (const { asked, answer } of questions) {
        const from = at
        at += asked.length
        answer(asked.map((_, i) => known.has(from + i)))
      }
    }
    this.#asking = false
  }

  /** The places of those that are there. */
  async #lookUp(asked: readonly AskedKey[]): Promise<ReadonlySet<number>> {
    while (asked.length > 0) {
      try {
        const rows = await this.#connections.read('', (sql) => knownKeys(sql, asked), Number.POSITIVE_INFINITY)
        return new Set(rows.map(({ place }) => place))
      } catch (error) {
        // Somebody's lock on the keys, which ends.
        if (blameOf(codeOf(error)) === 'held') continue
        // The commit finds the copies all the same.
        this.#log.error(
          'keys.lookup_failed',
          { error: messageOf(error) },
          "Messages' keys could not be looked up: handlers run for copies, too, and call again what they call. See that this login may read sys.request_keys.",
        )
        break
      }
    }
    return new Set()
  }
}
