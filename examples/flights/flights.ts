import { fileURLToPath } from 'node:url'
import { asyncBufferFromFile, parquetRead } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'

/** Flights by their row in the file, column by column. */
export type Flights = {
  readonly count: number
  /** Milliseconds since 1970. */
  readonly departed: Float64Array
  /** Minutes; negative for those who left early. */
  readonly delay: Int32Array
  /** Miles. */
  readonly distance: Int32Array
  origin(row: number): string
  destination(row: number): string
}

/** How many the file has. */
export const allFlights = 3_000_000

/** The first `count` of the three million flights that npm's vega-datasets has: departures in the USA in 2001. */
export async function readFlights(count: number): Promise<Flights> {
  const departed = new Float64Array(count)
  const delay = new Int32Array(count)
  const distance = new Int32Array(count)
  const origin = new Names(count)
  const destination = new Names(count)
  const columns: Readonly<Record<string, (row: number, value: unknown) => void>> = {
    date: (row, value) => (departed[row] = Number(value)),
    delay: (row, value) => (delay[row] = Number(value)),
    distance: (row, value) => (distance[row] = Number(value)),
    origin: (row, value) => origin.set(row, String(value)),
    destination: (row, value) => destination.set(row, String(value)),
  }
  const data = import.meta.resolve('vega-datasets').replace(/\/build\/.*$/, '/data/flights-3m.parquet')
  await parquetRead({
    file: await asyncBufferFromFile(fileURLToPath(data)),
    compressors,
    rowEnd: count,
    parsers: { timestampFromMicroseconds: (micros) => Number(micros / 1000n) },
    onChunk({ columnName, columnData, rowStart }) {
      const values: ArrayLike<unknown> = columnData
      const put = columns[columnName]
      for (let i = 0; i < values.length && rowStart + i < count; i++) put?.(rowStart + i, values[i])
    },
  })
  return {
    count,
    departed,
    delay,
    distance,
    origin: (row) => origin.at(row),
    destination: (row) => destination.at(row),
  }
}

/** A column of few different texts. */
class Names {
  readonly #known = new Map<string, number>()
  readonly #texts: string[] = []
  readonly #numbers: Uint16Array

  constructor(count: number) {
    this.#numbers = new Uint16Array(count)
  }

  set(row: number, text: string): void {
    let number = this.#known.get(text)
    if (number === undefined) {
      number = this.#texts.length
      this.#texts.push(text)
      this.#known.set(text, number)
    }
    this.#numbers[row] = number
  }

  at(row: number): string {
    return this.#texts[this.#numbers[row] ?? 0] ?? ''
  }
}
