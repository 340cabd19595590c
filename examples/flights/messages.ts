import type { OutgoingMessage } from '../../core/kafka/producer.ts'
import type { Flights } from './flights.ts'

export const commands = 'core.commands.v1'
export const events = 'core.events.v1'

/** Flights as messages: a flight's airport is the tenant. Everything is a function of the row and of `startOfIds`. */
export class FlightMessages {
  readonly flights: Flights
  readonly #startOfIds: number
  readonly #keys = new Map<string, Buffer>()
  #last = { departed: -1, text: '' }

  /** `startOfIds`: the time that the ids carry, in milliseconds; keys of today's ids lie in today's part of the table. */
  constructor(flights: Flights, startOfIds: number) {
    this.flights = flights
    this.#startOfIds = startOfIds
  }

  /** A UUIDv7, the same for a row in each run of a day. */
  id(row: number): string {
    const time = this.#startOfIds + Math.floor(row / 100)
    const [first, second] = [scramble(row, 1), scramble(row, 2)]
    const version = fourDigits[0x7000 | (first & 0xfff)]
    const variant = fourDigits[0x8000 | (first >>> 18)]
    return `${hex(Math.floor(time / 65_536))}-${fourDigits[time % 65_536]}-${version}-${variant}-${hex(second)}${fourDigits[first >>> 16]}`
  }

  message(row: number): OutgoingMessage {
    const { flights } = this
    const tenant = flights.origin(row)
    const departed = this.#time(flights.departed[row] ?? 0)
    const trace = hex(scramble(row, 3)) + hex(scramble(row, 4)) + hex(scramble(row, 5)) + hex(row)
    const payload = `{"flight":${row},"delay":${flights.delay[row]},"distance":${flights.distance[row]},"destination":"${flights.destination(row)}"}`
    const text = `{"message_id":"${this.id(row)}","type":"flight.departed","tenant_id":"${tenant}","trace_id":"${trace}","occurred_at":"${departed}","schema_version":1,"payload":${payload}}`
    return { topic: commands, key: this.#key(tenant), value: Buffer.from(text), headers: [] }
  }

  /** The file is in the order of its times, to the minute: most rows have the time of the one before. */
  #time(departed: number): string {
    if (departed !== this.#last.departed) this.#last = { departed, text: new Date(departed).toISOString() }
    return this.#last.text
  }

  #key(tenant: string): Buffer {
    let key = this.#keys.get(tenant)
    if (key === undefined) {
      key = Buffer.from(tenant)
      this.#keys.set(tenant, key)
    }
    return key
  }
}

/** 32 bits that look random, different for different rows. */
function scramble(row: number, use: number): number {
  let bits = Math.imul(row ^ Math.imul(use, 0x9e3779b1), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 16), 0xc2b2ae35)
  return (bits ^ (bits >>> 15)) >>> 0
}

const fourDigits = Array.from({ length: 65_536 }, (_, number) => number.toString(16).padStart(4, '0'))

/** Eight digits; a table is a third of the time of toString and padStart. */
function hex(word: number): string {
  return `${fourDigits[word >>> 16]}${fourDigits[word & 0xffff]}`
}
