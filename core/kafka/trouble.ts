import type { Log } from '../log.ts'
import type { SourceListener } from './source.ts'

/** Remembers whether the listener believes that Kafka is in trouble, so that it hears of each change once. */
export class Trouble {
  readonly #listener: SourceListener
  readonly #log: Log
  #reason = ''

  constructor(listener: SourceListener, log: Log) {
    this.#listener = listener
    this.#log = log
  }

  tell(reason: Error): void {
    if (this.#reason === reason.message) return
    this.#reason = reason.message
    this.#log.warn('kafka.troubled', { reason: reason.message }, 'Kafka is away or refuses us; trying on')
    this.#listener.troubled(reason)
  }

  clear(): void {
    if (this.#reason === '') return
    this.#reason = ''
    this.#log.info('kafka.recovered', {}, 'Kafka answers again')
    this.#listener.recovered()
  }
}
