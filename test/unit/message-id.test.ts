import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { deriveId, messageKey, timeOfId } from '../../core/message-id.ts'
import { test } from '../harness.ts'

const v7 = '0190f3a1-7c3b-7abc-9def-0123456789ab'
const v7Time = 0x0190f3a17c3b

test('a UUID keeps its bits, in one spelling', () => {
  for (const spelling of [v7, v7.toUpperCase(), `{${v7}}`, `urn:uuid:${v7}`, `URN:UUID:${v7.toUpperCase()}`])
    assert.is(messageKey(spelling).uuid, v7)
})

test('a UUIDv7 and a ULID carry their day, a UUIDv4 and a text none', () => {
  assert.is(messageKey(v7).day, Math.floor(v7Time / 86_400_000))
  assert.is(messageKey('01ARZ3NDEKTSV4RRFFQ69G5FAV').day, Math.floor(1_469_922_850_259 / 86_400_000))
  assert.is(messageKey('01arz3ndektsv4rrffq69g5fav').uuid, '01563e3a-b5d3-d676-4c61-efb99302bd5b')
  assert.is(messageKey(randomUUID()).day, 0)
  assert.is(messageKey('order-4711').day, 0)
})

test('any other id is compared character by character', () => {
  const ids = fc.string({ minLength: 1 })
  fc.assert(fc.property(ids, ids, (a, b) => (a === b) === (messageKey(a).uuid === messageKey(b).uuid)))
  assert.is.not(messageKey('Order-1').uuid, messageKey('order-1').uuid)
  assert.is.not(messageKey(v7.replaceAll('-', '')).uuid, v7)
})

test('every key is a UUID of lower case, and its day is a function of the id alone', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ minLength: 1 }), fc.uuid(), fc.ulid()), (id) => {
      const key = messageKey(id)
      assert.match(key.uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/)
      assert.equal(messageKey(id), key)
      assert.ok(Number.isInteger(key.day) && key.day >= 0 && key.day < 2 ** 31)
    }),
  )
})

const facts = { use: 'message', group: 'g', actor: 'a', tenant: 't', uuid: v7, index: 0, time: v7Time } as const

test('a derived id is the same for the same facts and differs by each of them', () => {
  const id = deriveId(facts)
  assert.is(deriveId(facts), id)
  const others = [
    { ...facts, use: 'id' as const },
    { ...facts, group: 'g2' },
    { ...facts, actor: 'a2' },
    { ...facts, tenant: 't2' },
    { ...facts, uuid: randomUUID() },
    { ...facts, index: 1 },
  ]
  assert.is(new Set([id, ...others.map(deriveId)]).size, others.length + 1)
})

test('a derived id begins with its time, carries its day and can be derived from again', () => {
  const id = deriveId(facts)
  assert.is(id.slice(0, 13), v7.slice(0, 13))
  assert.is(timeOfId(id), v7Time)
  assert.is(messageKey(id).uuid, id)
  assert.is(messageKey(id).day, Math.floor(v7Time / 86_400_000))
  assert.match(deriveId({ ...facts, time: -1 }), /^00000000-0000-8/)
  assert.match(deriveId({ ...facts, time: 2 ** 60 }), /^ffffffff-ffff-8/)
})

test('a derived id is of version 8 with the RFC variant, so no UUIDv4 or v7 of a producer can equal it', () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), (index, time) =>
      /^[0-9a-f]{8}-[0-9a-f]{4}-87e4-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(deriveId({ ...facts, index, time })),
    ),
  )
})
