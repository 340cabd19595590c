import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { maxTold } from '../../actors/decision-frame.ts'
import { DecisionPacker, Told } from '../../actors/decision-packer.ts'
import { DecisionUnpacker } from '../../actors/decision-unpacker.ts'
import { packDispatches, transfersOf, unpackDispatches } from '../../actors/dispatch-frame.ts'
import { WordReader, Words } from '../../actors/wire.ts'
import { BadRecord } from '../../core/bad-record.ts'
import type { Effect, Failure, Shape, SqlText } from '../../core/effects.ts'
import type { Headers, KafkaRecord } from '../../core/kafka/source.ts'
import type { Decision, Dispatch, Done, Duplicate, Failed } from '../../core/workers.ts'
import { EffectGrouping } from '../../core/postgres/effects.ts'
import { parseArray } from '../../core/postgres/array-values.ts'
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
  { key: 'insert a', table: 'public.a', columns: ['x'], bare: [false] },
  { key: 'insert b', table: 'public.b', columns: ['x', 'y', 'z'], bare: [false, true, false] },
  { key: 'upsert b', table: 'public.b', columns: ['x', 'y', 'z'], bare: [false, true, false], conflict: ['x'] },
)
const bareText = fc.oneof(fc.integer().map(String), fc.uuid(), fc.constant(null))
const effect: fc.Arbitrary<Effect> = fc.oneof(
  shape.chain((one) =>
    fc
      .tuple(...one.bare.map((bare) => (bare ? bareText : sqlText)))
      .map((values): Effect => ({ kind: 'row', shape: one, values })),
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
const common = { key, type: text, traceId: text, messageId: fc.oneof(text, fc.uuid()) }
const done: fc.Arbitrary<Done> = record({
  kind: fc.constant('done' as const),
  ...common,
  bytes: fc.nat(),
  served: fc.nat(2 ** 30 - 1),
  effects: fc.array(effect, { maxLength: 5 }),
  state: fc.option(record({ version: fc.nat(), json: fc.json() }), { nil: null }),
}).map((one) => ({
  ...one,
  publishes: one.effects.some(({ kind }) => kind === 'publish'),
  packed: null,
  stateful: one.state !== null,
}))
const failure: fc.Arbitrary<Failure> = fc.record(
  {
    reason: text,
    errorClass: text,
    message: text,
    stack: text,
    kind: fc.constantFrom('bad-record' as const, 'permanent' as const, 'transient' as const),
    sqlstate: text,
    dependency: text,
  },
  { noNullPrototype: true, requiredKeys: ['reason', 'errorClass', 'message', 'stack', 'kind'] },
)
const failed: fc.Arbitrary<Failed> = record({
  kind: fc.constant('failed' as const),
  ...common,
  failure,
  served: fc.nat(2 ** 30 - 1),
})
const duplicate: fc.Arbitrary<Duplicate> = record({
  kind: fc.constant('duplicate' as const),
  messageId: text,
  type: text,
  traceId: text,
})
const decision: fc.Arbitrary<Decision> = record({
  mailbox: large,
  run: large,
  offset: large,
  outcome: fc.oneof(done, failed, duplicate),
})

test('decisions arrive as they were made, frame after frame, through the thread’s clone', () => {
  fc.assert(
    fc.property(fc.array(fc.array(decision, { maxLength: 6 }), { maxLength: 4 }), (frames) => {
      const packer = new DecisionPacker(new Told())
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

test('what is cut out of a frame is what its decisions decode to, and two packers of a thread share what they told', () => {
  const cut = fc.tuple(fc.nat(7), fc.nat(7)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
  const frame = fc.array(decision, { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 4 }), cut, (frames, [from, to]) => {
      const told = new Told()
      const packers = [new DecisionPacker(told), new DecisionPacker(told)]
      const unpacker = new DecisionUnpacker(new Map())
      frames.forEach((decisions, i) => {
        const packer = packers[i % 2]
        assert.ok(packer)
        for (const each of decisions) packer.add(each)
        const arrived = unpacker
          .unpack(packer.take())
          .flatMap(({ outcome }) => (outcome.kind === 'done' ? [outcome] : []))
        const columns = arrived[0]?.packed?.columns
        if (columns === undefined) return
        assert.is(columns.count, arrived.length)
        assert.is(
          columns.plain,
          arrived.every(({ effects }) =>
            effects.every((one) => one.kind === 'publish' || (one.kind === 'row' && one.shape.conflict === undefined)),
          ),
        )
        const inside = arrived.slice(from, Math.min(to, arrived.length))
        if (inside.length === 0) return
        const days = new Set(arrived.map(({ key: one }) => one?.day ?? -1))
        assert.is(columns.keyDay, days.size === 1 ? [...days][0] : -1)
        if (columns.keyDay >= 0)
          assert.equal(
            columns.keys(from, from + inside.length).split(','),
            inside.map((one) => one.key?.uuid),
          )
        if (!columns.plain) return
        const rows = new Map<Shape, (readonly SqlText[])[]>()
        for (const one of inside.flatMap(({ effects }) => effects))
          if (one.kind === 'row') rows.set(one.shape, [...(rows.get(one.shape) ?? []), one.values])
        const found = columns.rows(from, from + inside.length)
        assert.equal(new Set(found.map((one) => one.shape)), new Set(rows.keys()))
        for (const { shape: of, columns: texts } of found)
          assert.equal(
            texts.map((column) => parseArray(`{${column}}`, (some) => some)),
            of.columns.map((_, place) => rows.get(of)?.map((row) => row[place])),
          )
      })
    }),
    { numRuns: 600 },
  )
})

/** As plain objects, with buffers and Uint8Arrays of the same bytes the same. */
function plain(decisions: readonly Decision[]): unknown {
  return decisions.map((one) => {
    if (one.outcome.kind !== 'done') return one
    const { kind, key: own, type, traceId, messageId, bytes: taken, state, publishes, stateful, effects } = one.outcome
    const readable = effects.map((each) =>
      each.kind === 'publish' ? { ...each, key: [...each.key], value: [...each.value] } : each,
    )
    const outcome = { kind, key: own, type, traceId, messageId, taken, state, publishes, stateful, effects: readable }
    return { ...one, outcome }
  })
}

/** A message that wrote one row. */
function writing(one: Shape, mailbox = 1): Decision {
  return doing({ kind: 'row', shape: one, values: ['x'] }, mailbox)
}

function doing(effect: Effect, mailbox = 1): Decision {
  const effects = [effect]
  const facts = { key: null, type: 't', traceId: '', messageId: 'm', bytes: 0, served: 0 }
  const nothing = { publishes: false, packed: null, stateful: false, state: null }
  return { mailbox, run: 1, offset: 1, outcome: { kind: 'done', effects, ...nothing, ...facts } }
}

test('a shape crosses once for each thread and is one object over all of them', () => {
  const one: Shape = { key: 'k', table: 'public.t', columns: ['a'], bare: [false] }
  const known = new Map<string, Shape>()
  const seen: unknown[] = []
  for (let thread = 0; thread < 2; thread++) {
    const packer = new DecisionPacker(new Told())
    const unpacker = new DecisionUnpacker(known)
    for (let frameNumber = 0; frameNumber < 2; frameNumber++) {
      packer.add(writing({ ...one }))
      packer.add(writing({ ...one }))
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

test('however many shapes there are, not all of them are remembered, and each row has its own', () => {
  const told = new Told()
  const packers = [new DecisionPacker(told), new DecisionPacker(told)]
  const known = new Map<string, Shape>()
  const unpacker = new DecisionUnpacker(known)
  const decisions: Decision[] = []
  let anew = 0
  for (let i = 0; i < 6 * maxTold; i++) {
    for (const [lane, packer] of packers.entries())
      packer.add(writing({ key: `${i % 20_000}`, table: `t${i % 20_000}`, columns: ['a'], bare: [false] }, lane))
    if (i % 10 > 0) continue
    for (const packer of packers) {
      const frame = packer.take()
      if (frame.anew) anew++
      decisions.push(...unpacker.unpack(structuredClone(frame)))
    }
    told.rest()
  }
  assert.ok(anew >= 2)
  assert.ok(known.size < 4 * maxTold + 100)
  // Only now: what has come is read with the shapes of its time.
  const tables = decisions.flatMap(({ mailbox, outcome }) =>
    outcome.kind === 'done' && mailbox === 1 ? outcome.effects.map((one) => one.kind === 'row' && one.shape.table) : [],
  )
  assert.equal(
    tables,
    tables.map((_, i) => `t${i % 20_000}`),
  )
})

test('however many names of headers there are, not all of them are remembered, and each message has its own', () => {
  const told = new Told()
  const packer = new DecisionPacker(told)
  const unpacker = new DecisionUnpacker(new Map())
  const decisions: Decision[] = []
  const nothing = Buffer.alloc(0)
  const count = 3 * maxTold
  let anew = 0
  for (let i = 0; i < count; i++) {
    const headers = [[`h${i}`, '']] as const
    packer.add(doing({ kind: 'publish', topic: 't', messageId: 'm', key: nothing, value: nothing, headers }))
    const frame = packer.take()
    if (frame.anew) anew++
    decisions.push(...unpacker.unpack(structuredClone(frame)))
    told.rest()
  }
  assert.is(anew, 2)
  const seen = decisions.flatMap(({ outcome }) => {
    if (outcome.kind !== 'done') return []
    return outcome.effects.map((one) => (one.kind === 'publish' ? [outcome.type, one.headers[0]?.[0]] : []))
  })
  assert.equal(
    seen,
    seen.map((_, i) => ['t', `h${i}`]),
  )
  assert.is(seen.length, count)
})

test('rows of one shape go together although it came as two objects', () => {
  const one: Shape = { key: 'k', table: 'public.t', columns: ['a'], bare: [false] }
  const runs = [1, 2].flatMap(() => {
    const packer = new DecisionPacker(new Told())
    packer.add(writing({ ...one }))
    const [decision] = new DecisionUnpacker(new Map()).unpack(packer.take())
    assert.ok(decision?.outcome.kind === 'done' && decision.outcome.packed !== null)
    return { columns: decision.outcome.packed.columns, from: 0, to: 1 }
  })
  assert.equal(new EffectGrouping({ tables: [] }).join(runs), [{ kind: 'rows', shape: one, arrays: ['{"x","x"}'] }])
})

test('types of bad records are not remembered, however many there are', () => {
  const packer = new DecisionPacker(new Told())
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
    lane: fc.nat(),
    state: fc.option(record({ version: fc.nat(), json: fc.json() }), { nil: null }),
  }),
  { nil: null },
)
const dispatch: fc.Arbitrary<Dispatch> = fc
  .tuple(
    record({ mailbox: large, run: large, opening, records: fc.array(kafkaRecord, { maxLength: 5 }) }),
    fc.option(fc.array(fc.tuple(large, text), { minLength: 1, maxLength: 3 }), { nil: undefined }),
  )
  .map(([sent, again]) => ({ ...sent, ...(again && { again: new Map(again) }) }))

test('dispatches arrive with every record’s bytes, order and openings, and which run again', () => {
  fc.assert(
    fc.property(fc.array(dispatch, { maxLength: 5 }), (dispatches) => {
      const frame = packDispatches(dispatches)
      const arrived = unpackDispatches(structuredClone(frame, { transfer: transfersOf(frame) }), 100)
      assert.is(arrived.length, dispatches.length)
      for (const [i, { mailbox, run, opening: opened, records, again }] of arrived.entries()) {
        const sent = dispatches[i]
        assert.ok(sent)
        assert.equal([mailbox, run, opened, again], [sent.mailbox, sent.run, sent.opening, sent.again])
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
