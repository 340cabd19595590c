import type { SourceListener } from './source.ts'

/** Remembers whether the listener believes that Kafka is in trouble, so that it hears of each change once. */
export class Trouble {
  readonly #listener: SourceListener
  #reason = ''

  constructor(listener: SourceListener) {
    this.#listener = listener
  }

  tell(reason: Error): void {
    if (this.#reason === reason.message) return
    this.#reason = reason.message
    this.#listener.troubled(reason)
  }

  clear(): void {
    if (this.#reason === '') return
    this.#reason = ''
    this.#listener.recovered()
  }
}
