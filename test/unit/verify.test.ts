import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { messageIdOf, tenantOf } from '../../cli/verify/envelope.ts'
import { idOf, textOf } from '../../cli/verify/ids.ts'
import { visible } from '../../cli/verify/log.ts'
import { Messages } from '../../cli/verify/messages.ts'
import { chainPlace, effectsPlace, orderPlace, placeName } from '../../cli/verify/places.ts'
import type { DeadLetter, ParkedRecord } from '../../cli/verify/progress.ts'
import { Replay } from '../../cli/verify/replay.ts'
import { Findings } from '../../cli/verify/report.ts'
import { BadRecord } from '../../core/bad-record.ts'
import { decodeEnvelope } from '../../core/envelope.ts'
import { defaultLimits } from '../../core/limits.ts'
import { readHeaders } from '../../core/message-headers.ts'
import { messageKey } from '../../core/message-id.ts'
import { encodeMsgpack } from '../../core/msgpack.ts'
import { route } from '../../supervisors/route.ts'
import { test } from '../harness.ts'

const spelledUuid = fc
  .uuid()
  .chain((id) => fc.constantFrom(id, id.toUpperCase(), `{${id}}`, `urn:uuid:${id}`, `${id} `))

const ulid = fc
  .tuple(
    fc.constantFrom(...'01234567'.split('')),
    fc.array(fc.constantFrom(...'0123456789abcdefghjkmnpqrstvwxyzABCDEFGHJKMNPQRSTVWXYZ'.split('')), {
      minLength: 25,
      maxLength: 25,
    }),
  )
  .map(([first, rest]) => first + rest.join(''))

test('the checker and the engine agree on which ids are one', () => {
  fc.assert(
    fc.property(fc.oneof(spelledUuid, ulid, fc.string({ minLength: 1, maxLength: 60 })), (id) => {
      assert.is(textOf(idOf(id)), messageKey(id).uuid)
    }),
    { numRuns: 2_000 },
  )
})

test('the checker and the engine agree on whose a record is, however its headers are spelled and doubled', () => {
  const name = fc.constantFrom('Tenant', 'tenant', 'TENANT', 'ténant', 'other')
  const header = fc.tuple(name, fc.option(fc.constantFrom('a', 'b', 'é', '')))
  const record = fc.record({
    key: fc.option(fc.constantFrom('a', 'b', '')),
    headers: fc.array(header, { maxLength: 5 }),
  })
  fc.assert(
    fc.property(record, fc.option(name), ({ key, headers }, tenantHeader) => {
      const logged = recordOf(key, null, headers)
      const routed = route({ ...logged, timestamp: -1 }, { tenantHeader, maxIdLength: 256 })
      const tenant = 'failure' in routed ? '' : routed.tenant
      assert.is(tenantOf(logged, tenantHeader ?? undefined), tenant)
    }),
    { numRuns: 2_000 },
  )
})

test('the checker and the engine agree on the id that a record carries', () => {
  const id = fc.oneof(spelledUuid, ulid, fc.constantFrom('7', 'order 7', ''))
  const contentType = fc.constantFrom(
    'application/json',
    'Application/MsgPack',
    'application/x-msgpack; version=5',
    'application/vnd.msgpack',
    'application/json; profile=msgpack',
  )
  const headers = fc
    .record({
      specversion: fc.constantFrom(undefined, '1.0'),
      id: fc.option(id, { nil: undefined }),
      source: fc.constantFrom(undefined, '', '/a'),
      contentType: fc.option(contentType, { nil: undefined }),
      loud: fc.boolean(),
      doubled: fc.boolean(),
    })
    .map(({ specversion, id: event, source, contentType: type, loud, doubled }) => {
      const given = Object.entries({
        ce_specversion: specversion,
        ce_id: event,
        ce_source: source,
        ce_type: specversion && 'made',
        'content-type': type,
      }).flatMap(([name, value]): [string, string][] =>
        value === undefined ? [] : [[loud ? name.toUpperCase() : name, value]],
      )
      return doubled ? [...given, ...given] : given
    })
  fc.assert(
    fc.property(headers, fc.option(id, { nil: undefined }), fc.boolean(), (given, messageId, packed) => {
      const envelope = { message_id: messageId, type: 'made', tenant_id: 'a', payload: {} }
      const value = Buffer.from(packed ? encodeMsgpack(envelope) : JSON.stringify(envelope))
      const logged = recordOf('a', value, given)
      const read = engineId(logged, value)
      // What the engine refuses is a dead letter, whose id the checker takes only where the engine could tell it.
      if (read !== undefined) assert.is(messageIdOf(logged), read)
    }),
    { numRuns: 5_000 },
  )
  assert.is(messageIdOf(recordOf('a', null, [['ce_specversion', '1.0']])), undefined)
})

function recordOf(key: string | null, value: Buffer | null, headers: readonly (readonly [string, string | null])[]) {
  const bytes = (text: string | null) => (text === null ? null : Buffer.from(text))
  return {
    offset: 0,
    key: bytes(key),
    value,
    headers: headers.map(([name, text]): [Buffer, Buffer | null] => [Buffer.from(name), bytes(text)]),
  }
}

/** The id that the engine reads; undefined for a record that it refuses. */
function engineId({ headers }: ReturnType<typeof recordOf>, value: Buffer): string | undefined {
  try {
    const message = { bytes: value, start: 0, end: value.length, headers: readHeaders(headers, 256), knownUtf8: false }
    return decodeEnvelope(message, 'a', defaultLimits).message_id
  } catch (error) {
    if (error instanceof BadRecord) return undefined
    throw error
  }
}

test('messages are found by id and tenant, however many there are', () => {
  const messages = new Messages()
  const counts = messages.counter()
  const ids = Array.from({ length: 5_000 }, () => randomUUID())
  for (const [n, id] of ids.entries()) {
    assert.is(messages.add(idOf(id), `tenant-${n % 3}`, n % 7, n), n)
    counts.raise(n)
  }
  for (const [n, id] of ids.entries()) {
    assert.is(messages.add(idOf(id), `tenant-${n % 3}`, 9, 9), n)
    assert.is(messages.find(idOf(id)), n)
    assert.is(messages.find(idOf(id), `tenant-${(n + 1) % 3}`), -1)
    assert.is(textOf(messages.id(n)), id)
    assert.equal(
      [messages.tenant(n), messages.log[n], messages.offset[n], counts.at(n)],
      [`tenant-${n % 3}`, n % 7, n, 1],
    )
  }
  assert.is(messages.find(idOf(randomUUID())), -1)
})

test('records of aborted transactions are not seen, whatever the same producer does next', () => {
  const batch = (first: number, count: number, producer: number, kind: 'plain' | 'transactional' | 'marker') => ({
    firstOffset: BigInt(first),
    lastOffsetDelta: count - 1,
    attributes: { plain: 0, transactional: 0x10, marker: 0x30 }[kind],
    producerId: BigInt(producer),
    records: Array.from({ length: count }, (_, offsetDelta) => ({ offsetDelta, key: null, value: null, headers: [] })),
  })
  const log = [
    batch(0, 2, 1, 'transactional'),
    batch(2, 1, -1, 'plain'),
    batch(3, 1, 1, 'marker'), // aborts 0 and 1
    batch(4, 2, 1, 'transactional'),
    batch(6, 1, 2, 'transactional'), // committed by a marker further on
    batch(7, 1, 1, 'marker'), // aborts 4 and 5
    batch(8, 1, 1, 'transactional'),
    batch(9, 1, 1, 'marker'), // commits 8
  ]
  const aborted = [
    { producerId: 1n, firstOffset: 4n },
    { producerId: 1n, firstOffset: 0n },
  ]
  const seen = visible(log, aborted, 0)
  assert.equal(
    seen.records.map(({ offset }) => offset),
    [2, 6, 8],
  )
  assert.is(seen.position, 10)
  // A fetch that begins within the transaction, and one whose marker lies outside it.
  assert.equal(
    visible(log.slice(3), [{ producerId: 1n, firstOffset: 4n }], 5).records.map(({ offset }) => offset),
    [6, 8],
  )
  assert.equal(
    visible(log.slice(0, 2), [{ producerId: 1n, firstOffset: 0n }], 0).records.map(({ offset }) => offset),
    [2],
  )
})

type Logged = {
  /** Ids of the messages, one a record, of tenant a unless named: `b/id`. */
  readonly ids: readonly string[]
  /** All below is done. */
  readonly watermark: number
  readonly parked?: Readonly<Record<number, ParkedRecord>>
  readonly deadLetters?: Readonly<Record<number, DeadLetter>>
  readonly retried?: readonly number[]
  readonly skipped?: readonly (readonly [from: number, to: number])[]
}

/** What the checker makes of one partition. */
function replayed({ ids, watermark, parked = {}, deadLetters = {}, retried = [], skipped = [] }: Logged) {
  const findings = new Findings()
  const byPlace = <T>(rows: Readonly<Record<number, T>>) =>
    new Map(Object.entries(rows).map(([offset, row]) => [`id/0/${offset}`, row]))
  const replay = new Replay({
    mode: 'message-id',
    tenantHeader: undefined,
    chained: true,
    deadLetters: byPlace(deadLetters),
    parked: byPlace(parked),
    retried: new Set(retried.map((offset) => `id/0/${offset}`)),
    findings,
  })
  replay.enter(
    { topic: 't', topicId: 'id', partitions: [{ watermark, ahead: [], skipped, rerunTo: 0 }], begun: [0] },
    0,
  )
  for (const [offset, name] of ids.entries()) {
    const [id = '', tenant = 'a'] = name.split('/').toReversed()
    replay.take({ ...recordOf(tenant, Buffer.from(JSON.stringify({ message_id: id })), []), offset })
  }
  replay.finish()
  const { records, processed, duplicates, waiting } = replay
  const counted = { records, processed, duplicates, waiting, parked: replay.parked, retried: replay.retried }
  const found = findings.examples.map(({ fault, offset }) => `${fault} ${offset}`)
  return { counted, found, replay, expected: (id: string) => replay.expected(replay.messages.find(idOf(id))) }
}

const row: ParkedRecord = { replayed: false, holdsKey: false }

test('a parked record waits: it is not done, and neither lost nor part of the chain', () => {
  const { counted, found, replay, expected } = replayed({
    ids: ['1', 'b/2', '3', 'b/4', '5'],
    watermark: 5,
    parked: { 2: row, 4: row },
  })
  assert.equal(found, [])
  assert.equal(counted, { records: 3, processed: 3, duplicates: 0, waiting: 2, parked: 2, retried: 0 })
  assert.is(replay.chains.get('0/a')?.messages, 1)
  assert.is(replay.chains.get('0/b')?.messages, 2)
  assert.equal(['1', '2', '3', '4', '5'].map(expected), [1, 1, 0, 1, 0])
})

test('what of a tenant is done behind its parked records is reordered, and only that tenant’s', () => {
  assert.equal(replayed({ ids: ['1', '2', 'b/3', '4'], watermark: 4, parked: { 1: row } }).found, ['reordered 3'])
})

test('a parked record is not done otherwise: not given up on, and not still to be read', () => {
  const letter = { holdsKey: true, replayed: false }
  assert.equal(replayed({ ids: ['1'], watermark: 1, parked: { 0: row }, deadLetters: { 0: letter } }).found, [
    'duplicated 0',
  ])
  assert.equal(replayed({ ids: ['1'], watermark: 0, parked: { 0: row } }).found, ['invented 0'])
})

test('a dead letter that was brought back holds its id, and nothing waits for it', () => {
  const { counted, found, expected } = replayed({
    ids: ['1', '1', '2'],
    watermark: 3,
    parked: { 0: { replayed: true, holdsKey: true } },
    deadLetters: { 0: { holdsKey: true, replayed: true } },
  })
  assert.equal(found, [])
  assert.equal(counted, { records: 2, processed: 1, duplicates: 1, waiting: 1, parked: 1, retried: 0 })
  assert.equal(['1', '2'].map(expected), [0, 1])
})

test('one brought back without a key waits, and a copy of it is processed meanwhile', () => {
  const { counted, found, expected } = replayed({
    ids: ['1', '1'],
    watermark: 2,
    parked: { 0: { replayed: true, holdsKey: false } },
    deadLetters: { 0: { holdsKey: false, replayed: true } },
  })
  assert.equal(found, [])
  assert.equal([counted.processed, counted.duplicates, counted.parked], [1, 0, 1])
  assert.is(expected('1'), 1)
})

test('a dead letter that was replayed and is gone was processed, once, and out of its tenant’s turn', () => {
  const { counted, found, replay, expected } = replayed({
    ids: ['1', '2', '1', 'b/3'],
    watermark: 4,
    deadLetters: { 0: { holdsKey: true, replayed: true } },
  })
  assert.equal(found, [])
  assert.equal(counted, { records: 4, processed: 3, duplicates: 1, waiting: 0, parked: 0, retried: 0 })
  assert.equal([replay.replayed, replay.dead], [1, 0])
  assert.equal(['1', '2', '3'].map(expected), [1, 1, 1])
  assert.equal([...replay.outOfTurn], ['a'])
  const second = { ids: ['1', '1'], watermark: 2, deadLetters: { 1: { holdsKey: true, replayed: true } } }
  assert.equal(replayed(second).found, ['duplicated 1'], 'a key would not have let the copy be given up')
})

test('a replay that held no key may have been a copy of whatever is in the log, before it or after', () => {
  for (const offset of [0, 1]) {
    const letters = { [offset]: { holdsKey: false, replayed: true } }
    const { counted, found, expected } = replayed({ ids: ['1', '1'], watermark: 2, deadLetters: letters })
    assert.equal(found, [])
    assert.equal([counted.processed, counted.duplicates, expected('1')], [1, 1, 1])
  }
  const dead = { 0: { holdsKey: false, replayed: true }, 1: { holdsKey: true, replayed: false } }
  const copied = replayed({ ids: ['1', '1'], watermark: 2, deadLetters: dead })
  assert.equal(copied.found, [])
  assert.equal([copied.counted.duplicates, copied.replay.dead, copied.expected('1')], [1, 1, 0])
})

test('copies of a bad record are each a dead letter, and the message that comes mended after them is processed in its place', () => {
  const bad = { holdsKey: false, replayed: false }
  const { counted, found, replay, expected } = replayed({
    ids: ['1', '1', '2', '1', '1', '1'],
    watermark: 6,
    deadLetters: { 0: bad, 1: bad, 4: bad },
  })
  assert.equal(found, [])
  assert.equal([counted.processed, counted.duplicates, replay.dead], [2, 1, 3])
  assert.equal(['1', '2'].map(expected), [1, 1])
  assert.is(replay.messages.offset[replay.messages.find(idOf('1'))], 3)
  assert.is(replay.chains.get('0/a')?.messages, 2)
})

test('where a bad record was brought back, its message is not looked for at its place, nor among what keeps its order', () => {
  for (const parked of [{}, { 0: { replayed: true, holdsKey: false } }]) {
    const { counted, found, replay, expected } = replayed({
      ids: ['1', '2', '1'],
      watermark: 3,
      parked,
      deadLetters: { 0: { holdsKey: false, replayed: true } },
    })
    assert.equal(found, [])
    const waits = 0 in parked
    assert.equal([counted.processed, counted.duplicates, expected('1')], [2, waits ? 0 : 1, 1])
    const number = replay.messages.find(idOf('1'))
    assert.is(replay.messages.offset[number], 2)
    assert.is(replay.messages.replayed[number], waits ? 0 : 1)
  }
})

test('a record that is to be tried again waits', () => {
  const { counted } = replayed({ ids: ['1', '2', '3'], watermark: 1, retried: [1] })
  assert.equal(counted, { records: 1, processed: 1, duplicates: 0, waiting: 2, parked: 0, retried: 1 })
})

test('what an operator had passed over is skipped, and the copy of one of these is processed', () => {
  const { counted, replay, expected } = replayed({ ids: ['x', 'y', 'z', 'y'], watermark: 4, skipped: [[1, 3]] })
  assert.equal([counted.records, counted.processed, replay.skipped], [4, 2, 2])
  assert.equal(['x', 'y'].map(expected), [1, 1])
  assert.is(replay.messages.size, 2)
})

test('places are read as the options give them, and refused with the right form', () => {
  assert.is(placeName(effectsPlace('flights:message_id')), 'flights.message_id')
  assert.is(placeName(orderPlace('app.flights:message_id:number')), 'app.flights in the order of number')
  assert.is(placeName(chainPlace('state:audit.chain')), "the state's audit.chain")
  assert.is(placeName(chainPlace('state:airport:chain')), "the state's chain of airport")
  assert.is(placeName(chainPlace('chains:value')), 'chains.value')
  for (const wrong of ['', 'flights', 'flights:', ':id', 'a:b:c'])
    assert.throws(() => effectsPlace(wrong), /--effects wants/)
  assert.throws(() => orderPlace('flights:id'), /--order wants/)
  for (const wrong of ['state', 'state:', 'a:b:c', 'state:a:b:c'])
    assert.throws(() => chainPlace(wrong), /--chain wants/)
})
