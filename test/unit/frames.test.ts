import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { DecisionPacker, DecisionUnpacker } from '../../actors/decision-frame.ts'
import { packDispatches, transfersOf, unpackDispatches } from '../../actors/dispatch-frame.ts'
import { WordReader, Words } from '../../actors/wire.ts'
import { BadRecord } from '../../core/bad-record.ts'
import type { Effect, Failure, Shape } from '../../core/effects.ts'
import type { Headers, KafkaRecord } from '../../core/kafka/source.ts'
import type { Decision, Dispatch, Done, Failed } from '../../core/workers.ts'
import { test } from '../harness.ts'

/** Objects as the program makes them: fast-check's have no prototype now and then. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true })
const large = fc.maxSafeNat()
// Every string that JavaScript has, half surrogate pairs included.
const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string(), fc.constantFrom('', '\ud800', '✓', '\0'))
const bytes = fc.uint8Array({ maxLength: 40 })
const buffer = bytes.map((some) => Buffer.from(some))
const sqlText = fc.oneof(text, fc.constant(null))

const shape: fc.Arbitrary<Shape> = fc.constantFrom(
  { key: 'insert a', table: 'public.a', columns: ['x'] },
  { key: 'insert b', table: 'public.b', columns: ['x', 'y', 'z'] },
  { key: 'upsert b', table: 'public.b', columns: ['x', 'y', 'z'], conflict: ['x'] },
)
const effect: fc.Arbitrary<Effect> = fc.oneof(
  shape.chain((one) =>
    fc.tuple(...one.columns.map(() => sqlText)).map((values): Effect => ({ kind: 'row', shape: one, values })),
  ),
  record({
    kind: fc.constant('sql' as const),
    text: fc.array(text, { minLength: 1, maxLength: 4 }),
    values: fc.array(sqlText, { maxLength: 3 }),
  }),
  record({
    kind: fc.constant('publish' as const),
    topic: text,
    messageId: text,
    key: bytes,
    value: bytes,
    headers: fc.array(fc.tuple(text, text), { maxLength: 3 }),
  }),
)
const key = fc.option(record({ uuid: fc.uuid(), day: fc.nat(100_000) }), { nil: null })
const elapsedMs = fc.nat(1_000_000).map((microseconds) => microseconds / 1_000)
const common = { key, type: text, traceId: text, messageId: fc.oneof(text, fc.uuid()), elapsedMs }
const done: fc.Arbitrary<Done> = record({
  kind: fc.constant('done' as const),
  ...common,
  effects: fc.array(effect, { maxLength: 5 }),
  state: fc.option(record({ version: fc.nat(), json: fc.json() }), { nil: null }),
})
const failure: fc.Arbitrary<Failure> = fc.record(
  {
    reason: text,
    errorClass: text,
    message: text,
    stack: text,
    kind: fc.constantFrom('bad-record' as const, 'permanent' as const, 'transient' as const),
    sqlstate: text,
  },
  { noNullPrototype: true, requiredKeys: ['reason', 'errorClass', 'message', 'stack', 'kind'] },
)
const failed: fc.Arbitrary<Failed> = record({ kind: fc.constant('failed' as const), ...common, failure })
const decision: fc.Arbitrary<Decision> = record({
  mailbox: large,
  run: large,
  offset: large,
  outcome: fc.oneof(done, failed),
})

test('decisions arrive as they were made, frame after frame, through the thread’s clone', () => {
  fc.assert(
    fc.property(fc.array(fc.array(decision, { maxLength: 6 }), { maxLength: 4 }), (frames) => {
      const packer = new DecisionPacker()
      const unpacker = new DecisionUnpacker(new Map())
      for (const decisions of frames) {
        for (const each of decisions) packer.add(each)
        assert.is(packer.count, decisions.length)
        const frame = packer.take()
        const arrived = unpacker.unpack(structuredClone(frame, { transfer: [frame.words.buffer, frame.bytes.buffer] }))
        assert.equal(plain(arrived), plain(decisions))
      }
    }),
    { numRuns: 400 },
  )
})

/** Buffers and Uint8Arrays of the same bytes are the same here. */
function plain(decisions: readonly Decision[]): unknown {
  return decisions.map((one) =>
    one.outcome.kind === 'failed'
      ? one
      : {
          ...one,
          outcome: {
            ...one.outcome,
            effects: one.outcome.effects.map((each) =>
              each.kind === 'publish' ? { ...each, key: [...each.key], value: [...each.value] } : each,
            ),
          },
        },
  )
}

test('a shape crosses once for each thread and is one object over all of them', () => {
  const one: Shape = { key: 'k', table: 'public.t', columns: ['a'] }
  const make = (offset: number): Decision => ({
    mailbox: 1,
    run: 1,
    offset,
    outcome: {
      kind: 'done',
      key: null,
      effects: [{ kind: 'row', shape: { ...one }, values: ['x'] }],
      state: null,
      type: 't',
      traceId: '',
      messageId: 'm',
      elapsedMs: 0,
    },
  })
  const known = new Map<string, Shape>()
  const seen: unknown[] = []
  for (let thread = 0; thread < 2; thread++) {
    const packer = new DecisionPacker()
    const unpacker = new DecisionUnpacker(known)
    for (let frameNumber = 0; frameNumber < 2; frameNumber++) {
      packer.add(make(1))
      packer.add(make(2))
      const frame = packer.take()
      assert.is(frame.shapes.length, frameNumber === 0 ? 1 : 0)
      for (const { outcome } of unpacker.unpack(structuredClone(frame))) {
        const [first] = outcome.kind === 'done' ? outcome.effects : []
        assert.ok(first?.kind === 'row')
        seen.push(first.shape)
      }
    }
  }
  assert.is(new Set(seen).size, 1)
})

test('types of bad records are not remembered, however many there are', () => {
  const packer = new DecisionPacker()
  for (let i = 0; i < 1_000; i++) {
    packer.add({
      mailbox: 1,
      run: 1,
      offset: i,
      outcome: {
        kind: 'failed',
        failure: { reason: 'r', errorClass: '', message: '', stack: '', kind: 'bad-record' },
        key: null,
        type: `hostile-${i}`,
        traceId: '',
        messageId: '',
        elapsedMs: 0,
      },
    })
  }
  assert.equal(packer.take().names, [])
})

const headers: fc.Arbitrary<Headers> = fc.array(fc.tuple(buffer, fc.option(buffer, { nil: null })), { maxLength: 3 })
const kafkaRecord: fc.Arbitrary<KafkaRecord> = record({
  offset: large,
  timestamp: fc.oneof(fc.constant(-1), large),
  key: fc.constant(null),
  value: fc.option(
    fc.oneof(
      buffer,
      fc.string().map((some) => Buffer.from(some)),
    ),
    { nil: null },
  ),
  headers,
})
const opening = fc.option(
  record({
    actor: fc.nat(),
    topic: text,
    partition: fc.nat(),
    tenant: text,
    state: fc.option(record({ version: fc.nat(), json: fc.json() }), { nil: null }),
  }),
  { nil: null },
)
const dispatch: fc.Arbitrary<Dispatch> = record({
  mailbox: large,
  run: large,
  opening,
  records: fc.array(kafkaRecord, { maxLength: 5 }),
})

test('dispatches arrive with every record’s bytes, order and openings', () => {
  fc.assert(
    fc.property(fc.array(dispatch, { maxLength: 5 }), (dispatches) => {
      const frame = packDispatches(dispatches)
      const arrived = unpackDispatches(structuredClone(frame, { transfer: transfersOf(frame) }), 100)
      assert.is(arrived.length, dispatches.length)
      for (const [i, { mailbox, run, opening: opened, records }] of arrived.entries()) {
        const sent = dispatches[i]
        assert.ok(sent)
        assert.equal([mailbox, run, opened], [sent.mailbox, sent.run, sent.opening])
        assert.equal(
          records.map(({ offset, timestamp, bytes: all, start, end }) => [
            offset,
            timestamp,
            end < 0 ? null : all.toString('hex', start, end),
          ]),
          sent.records.map(({ offset, timestamp, value }) => [offset, timestamp, value?.toString('hex') ?? null]),
        )
      }
    }),
    { numRuns: 400 },
  )
})

test('a value is known to be UTF-8 only if it is so by itself', () => {
  const values = fc.array(
    fc.oneof(
      buffer,
      fc.constantFrom('é', '✓', '😀').map((one) => Buffer.from(one)),
      fc.constantFrom([0xc3], [0xa9], [0xe2, 0x9c], [0x93]).map((one) => Buffer.from(one)),
    ),
  )
  fc.assert(
    fc.property(values, (all) => {
      const frame = packDispatches([
        {
          mailbox: 1,
          run: 1,
          opening: null,
          records: all.map((value, offset) => ({ offset, timestamp: 0, key: null, value, headers: [] })),
        },
      ])
      for (const { records } of unpackDispatches(frame, 100)) {
        for (const { knownUtf8, bytes: whole, start, end } of records) {
          const own = whole.subarray(start, end)
          if (knownUtf8) assert.is(Buffer.compare(Buffer.from(own.toString()), own), 0)
        }
      }
    }),
    { numRuns: 1_000 },
  )
})

test('headers that are the same as the last record’s are read once, and hostile ones fail only their own record', () => {
  const json: Headers = [[Buffer.from('content-type'), Buffer.from('application/json')]]
  const hostile: Headers = [[Buffer.from('content-type'), Buffer.from([0xff])]]
  const records = [json, json, hostile, [], json].map((some, offset) => ({
    offset,
    timestamp: 0,
    key: null,
    value: Buffer.from('{}'),
    headers: some,
  }))
  const [arrived] = unpackDispatches(packDispatches([{ mailbox: 1, run: 1, opening: null, records }]), 100)
  const read = arrived?.records.map((one) => one.headers) ?? []
  assert.is(read[0], read[1])
  assert.equal(
    read.map(({ contentType, problem }) => [contentType, problem instanceof BadRecord]),
    [
      ['application/json', false],
      ['application/json', false],
      ['', true],
      ['', false],
      ['application/json', false],
    ],
  )
})

test('words hold small and large integers exactly', () => {
  fc.assert(
    fc.property(fc.array(fc.maxSafeInteger(), { maxLength: 50 }), (numbers) => {
      const words = new Words(2)
      for (const n of numbers) {
        if (Math.abs(n) < 2 ** 52) words.pushLarge(n)
      }
      const reader = new WordReader(words.take())
      for (const n of numbers) {
        if (Math.abs(n) < 2 ** 52) assert.is(reader.nextLarge(), n)
      }
      assert.ok(reader.done)
    }),
  )
})
