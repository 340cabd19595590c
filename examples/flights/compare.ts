import { hash } from 'node:crypto'
import type postgres from 'postgres'
import { z } from 'zod'
import { Log } from '../../cli/verify/log.ts'
import { events, type FlightMessages } from './messages.ts'

/** What is wrong; all 0 if nothing is. */
export type Verdict = {
  lost: number
  duplicated: number
  reordered: number
  /** Sums, texts or places that are not the file's. */
  altered: number
}

export type Comparison = Verdict & {
  readonly airports: number
  readonly flights: number
  /** `flight.delayed`, each counted once, and the copies that were sent again after the kill. */
  readonly events: number
  readonly events_repeated: number
}

type Airport = { flights: number; late: number; minutes: number; miles: number; chain: string }
type Delay = { flights: number; minutes: number }

/** What the file says must be there, by a plain loop over its rows. */
class Expected {
  readonly airports = new Map<string, Airport>()
  /** By `airport/destination`. */
  readonly delays = new Map<string, Delay>()
  late = 0

  constructor(messages: FlightMessages) {
    const { flights } = messages
    for (let row = 0; row < flights.count; row++) {
      const origin = flights.origin(row)
      const delay = flights.delay[row] ?? 0
      const airport = this.airports.get(origin) ?? { flights: 0, late: 0, minutes: 0, miles: 0, chain: '' }
      airport.flights += 1
      airport.minutes += delay
      airport.miles += flights.distance[row] ?? 0
      airport.chain = hash('sha256', airport.chain + messages.id(row), 'hex')
      this.airports.set(origin, airport)
      if (delay <= 60) continue
      this.late += 1
      airport.late += 1
      const key = `${origin}/${flights.destination(row)}`
      const delays = this.delays.get(key) ?? { flights: 0, minutes: 0 }
      delays.flights += 1
      delays.minutes += delay
      this.delays.set(key, delays)
    }
  }
}

/** Compares PostgreSQL and Kafka with the file. Nothing of the engine takes part. */
export async function compare(
  sql: postgres.Sql,
  kafka: readonly string[],
  messages: FlightMessages,
): Promise<Comparison> {
  const expected = new Expected(messages)
  const verdict: Verdict = { lost: 0, duplicated: 0, reordered: 0, altered: 0 }
  await compareRows(sql, expected, verdict)
  await compareStates(sql, expected, verdict)
  const { seen, repeated } = await compareEvents(kafka, messages, expected, verdict)
  await compareDelays(sql, expected, verdict)
  return {
    ...verdict,
    airports: expected.airports.size,
    flights: messages.flights.count,
    events: seen,
    events_repeated: repeated,
  }
}

async function compareRows(sql: postgres.Sql, { airports }: Expected, verdict: Verdict): Promise<void> {
  const rows = await sql<
    { airport: string; rows: number; flights: number; minutes: number; miles: number; misplaced: number }[]
  >`
    select tenant_id as airport, count(*)::float8 as rows, count(distinct flight)::float8 as flights,
      sum(delay)::float8 as minutes, sum(distance)::float8 as miles,
      count(*) filter (where flight < before)::float8 as misplaced
    from (
      select tenant_id, flight, delay, distance, lag(flight) over (partition by tenant_id order by number) as before
      from flights
    ) as counted
    group by tenant_id`
  const missing = new Map(airports)
  for (const found of rows) {
    const airport = missing.get(found.airport)
    missing.delete(found.airport)
    verdict.duplicated += found.rows - found.flights
    verdict.reordered += found.misplaced
    if (airport === undefined) verdict.altered += 1
    else if (found.flights < airport.flights) verdict.lost += airport.flights - found.flights
    else if (found.rows === airport.flights && (found.minutes !== airport.minutes || found.miles !== airport.miles))
      verdict.altered += 1
  }
  for (const airport of missing.values()) verdict.lost += airport.flights
}

async function compareStates(sql: postgres.Sql, { airports }: Expected, verdict: Verdict): Promise<void> {
  const rows = await sql<{ airport: string; state: unknown }[]>`
    select tenant_id as airport, state from sys.actor_state where group_name = 'actuator' and actor = 'airport'`
  const form = z.object({ flights: z.number(), late: z.number(), minutes: z.number(), chain: z.string() })
  const missing = new Map(airports)
  for (const row of rows) {
    const airport = missing.get(row.airport)
    missing.delete(row.airport)
    const state = form.parse(row.state)
    if (airport === undefined) {
      verdict.altered += 1
      continue
    }
    verdict.lost += Math.max(0, airport.flights - state.flights)
    verdict.duplicated += Math.max(0, state.flights - airport.flights)
    if (state.flights !== airport.flights) continue
    if (state.chain !== airport.chain) verdict.reordered += 1
    if (state.late !== airport.late || state.minutes !== airport.minutes) verdict.altered += 1
  }
  for (const airport of missing.values()) verdict.lost += airport.flights
}

const event = z.object({
  type: z.literal('flight.delayed'),
  tenant_id: z.string(),
  payload: z.object({ flight: z.number(), delay: z.number(), destination: z.string() }),
})

/** Each late flight has its event; more than once only as a copy, and the first ones in order. */
async function compareEvents(
  kafka: readonly string[],
  { flights }: FlightMessages,
  expected: Expected,
  verdict: Verdict,
): Promise<{ readonly seen: number; readonly repeated: number }> {
  const told = new Uint8Array(flights.count)
  const last = new Map<string, number>()
  let [seen, repeated] = [0, 0]
  const take = (value: Buffer | null): void => {
    const parsed = event.safeParse(JSON.parse(value?.toString() ?? 'null'))
    const { flight, delay, destination } = parsed.data?.payload ?? { flight: -1, delay: 0, destination: '' }
    const airport = parsed.data?.tenant_id ?? ''
    const right =
      flights.delay[flight] === delay &&
      delay > 60 &&
      flights.origin(flight) === airport &&
      flights.destination(flight) === destination
    if (!right) verdict.altered += 1
    else if (told[flight] === 1) repeated += 1
    else {
      told[flight] = 1
      seen += 1
      if (flight < (last.get(airport) ?? -1)) verdict.reordered += 1
      else last.set(airport, flight)
    }
  }
  const log = new Log({ bootstrap: kafka, clientId: 'flights-demo' }, 'flights-demo')
  try {
    const topic = await log.describe(events)
    for (const [partition, end] of (topic?.ends ?? []).entries()) {
      for await (const records of log.read(events, partition, topic?.starts[partition] ?? 0, end))
        for (const { value } of records) take(value)
    }
  } finally {
    await log.close()
  }
  verdict.lost += expected.late - seen
  return { seen, repeated }
}

async function compareDelays(sql: postgres.Sql, { delays }: Expected, verdict: Verdict): Promise<void> {
  const rows = await sql<{ place: string; flights: number; minutes: number }[]>`
    select concat(tenant_id, '/', destination) as place, flights, minutes from delays`
  const missing = new Map(delays)
  for (const found of rows) {
    const wanted = missing.get(found.place)
    missing.delete(found.place)
    if (wanted === undefined) {
      verdict.altered += 1
      continue
    }
    verdict.lost += Math.max(0, wanted.flights - found.flights)
    verdict.duplicated += Math.max(0, found.flights - wanted.flights)
    if (found.flights === wanted.flights && found.minutes !== wanted.minutes) verdict.altered += 1
  }
  for (const wanted of missing.values()) verdict.lost += wanted.flights
}
