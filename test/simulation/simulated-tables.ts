import type { Clock } from '../../core/clock.ts'
import type { TableWatch } from '../../supervisors/judgement.ts'
import type { Chaos } from './chaos.ts'
import type { PostgresClient } from './postgres-client.ts'

/** What a daemon knows of the tables: one that started while they were away knows of none until it looks again. */
export class SimulatedTables implements TableWatch {
  known: boolean
  lookedAt = Number.NEGATIVE_INFINITY
  toldAt = Number.NEGATIVE_INFINITY
  readonly #client: PostgresClient
  readonly #clock: Clock
  #looking = false

  constructor(client: PostgresClient, clock: Clock, chaos: Chaos) {
    this.#client = client
    this.#clock = clock
    this.known = !chaos.happens('tables away')
  }

  lookAgain(): void {
    const { server, process } = this.#client
    if (this.#looking) return
    this.#looking = true
    const began = this.#clock.monotonic()
    const look = () => {
      this.#looking = false
      if (!this.#client.reached) return
      this.known = true
      this.lookedAt = began
      this.toldAt = this.#clock.monotonic()
    }
    server.loop.after(server.random.delay(600), 'look at the tables', look, process)
  }
}
