import { isUtf8 } from 'node:buffer'
import { Packr } from 'msgpackr'
import { BadRecord } from './bad-record.ts'
import { checkValue } from './json.ts'

/**
 * MessagePack from outside and to it. The reader is our own because msgpackr's believes its input: lengths past the
 * end, extension types (its records among them), keys that are no strings, bad UTF-8, and integers that come out as
 * bigint or rounded. Here an integer is a number where that is exact and a bigint where it is not, as in JSON.
 */

const packr = new Packr({ useRecords: false, variableMapSize: true, moreTypes: false })

/** MessagePack of what `parseJson` gives; a bigint must fit 64 bits (RangeError otherwise). */
export function encodeMsgpack(value: unknown): Buffer {
  return packr.pack(value)
}

/**
 * Decodes the one value that fills `bytes`. Keys of the outermost map must differ. Throws BadRecord with `bad_msgpack`,
 * `bad_utf8`, `too_deep`, `bad_key`, `duplicate_key` or `number_out_of_range`.
 */
export function decodeMsgpack(bytes: Buffer, maxDepth: number): unknown {
  const reader = new Reader(bytes, maxDepth)
  const value = reader.value(maxDepth)
  if (reader.at !== bytes.length) throw malformed('bytes follow the value')
  checkValue(value, maxDepth)
  return value
}

function malformed(what: string): BadRecord {
  return new BadRecord('bad_msgpack', `the value is not MessagePack that tenantry takes: ${what}`)
}

class Reader {
  at = 0
  readonly #bytes: Buffer
  readonly #maxDepth: number

  constructor(bytes: Buffer, maxDepth: number) {
    this.#bytes = bytes
    this.#maxDepth = maxDepth
  }

  value(levels: number): unknown {
    const tag = this.#bytes[this.at++]
    if (tag === undefined) throw malformed('it ends early')
    if (tag <= 0x7f) return tag
    if (tag >= 0xe0) return tag - 0x100
    if (tag <= 0x8f) return this.#map(tag & 0x0f, levels)
    if (tag <= 0x9f) return this.#array(tag & 0x0f, levels)
    if (tag <= 0xbf) return this.#text(tag & 0x1f)
    switch (tag) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc4:
        return this.#binary(this.#unsigned(1))
      case 0xc5:
        return this.#binary(this.#unsigned(2))
      case 0xc6:
        return this.#binary(this.#unsigned(4))
      case 0xca:
        return this.#bytes.readFloatBE(this.#take(4))
      case 0xcb:
        return this.#bytes.readDoubleBE(this.#take(8))
      case 0xcc:
        return this.#unsigned(1)
      case 0xcd:
        return this.#unsigned(2)
      case 0xce:
        return this.#unsigned(4)
      case 0xcf:
        return exact(this.#bytes.readBigUInt64BE(this.#take(8)))
      case 0xd0:
        return this.#bytes.readInt8(this.#take(1))
      case 0xd1:
        return this.#bytes.readInt16BE(this.#take(2))
      case 0xd2:
        return this.#bytes.readInt32BE(this.#take(4))
      case 0xd3:
        return exact(this.#bytes.readBigInt64BE(this.#take(8)))
      case 0xd9:
        return this.#text(this.#unsigned(1))
      case 0xda:
        return this.#text(this.#unsigned(2))
      case 0xdb:
        return this.#text(this.#unsigned(4))
      case 0xdc:
        return this.#array(this.#unsigned(2), levels)
      case 0xdd:
        return this.#array(this.#unsigned(4), levels)
      case 0xde:
        return this.#map(this.#unsigned(2), levels)
      case 0xdf:
        return this.#map(this.#unsigned(4), levels)
      default:
        throw malformed('it has an extension type')
    }
  }

  /** Moves past `size` bytes that must be there; answers where they begin. */
  #take(size: number): number {
    const from = this.at
    this.at = from + size
    if (this.at > this.#bytes.length) throw malformed('it ends early')
    return from
  }

  #unsigned(size: 1 | 2 | 4): number {
    return this.#bytes.readUIntBE(this.#take(size), size)
  }

  #binary(size: number): Uint8Array {
    const from = this.#take(size)
    // A copy of its own: the frame's buffer is everybody's.
    return new Uint8Array(this.#bytes.subarray(from, this.at))
  }

  #text(size: number): string {
    const from = this.#take(size)
    for (let i = from; i < this.at; i++) {
      if ((this.#bytes[i] ?? 0) < 0x80) continue
      if (!isUtf8(this.#bytes.subarray(from, this.at)))
        throw new BadRecord('bad_utf8', 'a string in the value is not UTF-8')
      return this.#bytes.toString('utf8', from, this.at)
    }
    return this.#bytes.toString('latin1', from, this.at)
  }

  #array(count: number, levels: number): unknown[] {
    this.#mayHold(count, levels)
    const items: unknown[] = []
    for (; count > 0; count--) items.push(this.value(levels - 1))
    return items
  }

  #map(count: number, levels: number): Record<string, unknown> {
    this.#mayHold(2 * count, levels)
    const fields: Record<string, unknown> = {}
    for (; count > 0; count--) {
      const key = this.value(levels - 1)
      if (typeof key !== 'string') throw malformed('a key is not a string')
      if (key === '__proto__') throw new BadRecord('bad_key', 'the value has a key __proto__')
      if (levels === this.#maxDepth && Object.hasOwn(fields, key)) {
        throw new BadRecord(
          'duplicate_key',
          'a field of the envelope stands in it twice: a gateway may have read the other one',
        )
      }
      fields[key] = this.value(levels - 1)
    }
    return fields
  }

  /** Each item takes a byte at least, so a length made up is found before anything is looped over or allocated. */
  #mayHold(items: number, levels: number): void {
    if (levels === 0) throw new BadRecord('too_deep', `the value is nested deeper than ${this.#maxDepth} levels`)
    if (this.at + items > this.#bytes.length) throw malformed('it ends early')
  }
}

function exact(value: bigint): number | bigint {
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
}
