import { Admin, type ClusterMetadata, findErrorBy } from '@platformatic/kafka'
import { type Clock, withDeadline } from '../clock.ts'
import { errorOf } from '../errors.ts'
import { clientOptions, type KafkaConnection } from './options.ts'

/** Who has not answered after so long may be frozen: another broker is asked, too. */
const patienceMs = 2_000
/** When none of those that were asked has answered after so long, Kafka as a whole may be frozen: the asker must know. */
export const silentMs = 8_000
const mostAsked = 3

/**
 * The brokers of each cluster, by its bootstrap addresses, as any client in this process has learned them last. One that
 * was idle while all brokers were replaced knows none of the new ones, and its bootstrap addresses lead nowhere.
 */
const learned = new Map<string, readonly string[]>()

/** Why a question was given up. */
export function noAnswer(): Error {
  return new Error('no broker answers')
}

/**
 * What any broker can answer, by clients of @platformatic/kafka. A client asks the first of its brokers that takes a
 * connection, every time: one that is frozen, or whose disk hangs, does so, and never answers. So there is a client for
 * each broker, and one that is late is asked after the others from then on. Only for what may be asked twice.
 */
export class AnyBroker {
  readonly #connection: KafkaConnection
  readonly #clock: Clock
  readonly #clients = new Map<string, Admin>()
  /** In the order in which they are asked. */
  #brokers: readonly string[]

  constructor(connection: KafkaConnection, clock: Clock) {
    this.#connection = connection
    this.#clock = clock
    this.#brokers = connection.bootstrap
  }

  /** The bootstrap addresses may be fewer than the brokers. */
  learn({ brokers }: ClusterMetadata): void {
    const found = [...brokers.values()].map(({ host, port }) => `${host}:${port}`)
    learned.set(this.#connection.bootstrap.join(), found)
    this.#know(found)
  }

  #know(found: readonly string[]): void {
    const known = [...this.#connection.bootstrap, ...found]
    this.#brokers = [...new Set([...this.#brokers.filter((broker) => known.includes(broker)), ...known])]
  }

  /** The first answer, be it a refusal; rejects when those that were asked cannot be reached, or do not answer for 8 s. */
  async ask<T>(question: (client: Admin) => Promise<T>): Promise<T> {
    this.#know(learned.get(this.#connection.bootstrap.join()) ?? [])
    const brokers = this.#brokers.slice(0, mostAsked)
    const answers: Promise<Answer<T>>[] = []
    const until = this.#clock.monotonic() + silentMs
    for (const broker of brokers) {
      answers.push(answerOf(question(this.#client(broker))))
      const isLast = answers.length === brokers.length
      const first = Promise.any(answers).catch(lastOf)
      const ms = isLast ? until - this.#clock.monotonic() : patienceMs
      const answer = await withDeadline(this.#clock, first, ms)
      if (answer !== undefined && 'value' in answer) return answer.value
      if (answer !== undefined && (isLast || answer.refused)) throw answer.error
      // Behind the others, for the next time.
      this.#brokers = [...this.#brokers.filter((other) => other !== broker), broker]
    }
    throw brokers.length === 0 ? new Error('there is no broker to ask') : noAnswer()
  }

  /** The client whose broker was not late when it was asked last: for what may not be asked twice. */
  get prompt(): Admin {
    const [broker] = this.#brokers
    if (broker === undefined) throw new Error('there is no broker to ask')
    return this.#client(broker)
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#clients.values()].map((client) => client.close()))
  }

  /** One that begins with this broker, and knows others. */
  #client(broker: string): Admin {
    const found = this.#clients.get(broker)
    if (found) return found
    const { clientId } = this.#connection
    const bootstrap = [broker, ...this.#brokers.filter((other) => other !== broker)]
    const client = new Admin({ ...clientOptions({ ...this.#connection, bootstrap }), clientId: `${clientId}-admin` })
    this.#clients.set(broker, client)
    return client
  }
}

type Answer<T> = { readonly value: T } | Failure
/** `refused`: a broker has said so, and others would. */
type Failure = { readonly error: Error; readonly refused: boolean }

async function answerOf<T>(asked: Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await asked }
  } catch (thrown) {
    const error = errorOf(thrown)
    if (
      findErrorBy(error, 'code', 'PLT_KFK_NETWORK') === null ||
      findErrorBy(error, 'code', 'PLT_KFK_PROTOCOL') !== null
    )
      return { error, refused: true }
    throw error
  }
}

/** All have failed. */
function lastOf(failed: unknown): Failure {
  const errors: readonly unknown[] = failed instanceof AggregateError ? failed.errors : [failed]
  return { error: errorOf(errors.at(-1)), refused: false }
}
