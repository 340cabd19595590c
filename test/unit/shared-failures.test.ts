import * as assert from 'uvu/assert'
import type { Failed } from '../../core/workers.ts'
import type { Suspect } from '../../supervisors/bisection.ts'
import { Decided, Item } from '../../supervisors/item.ts'
import { Mailbox } from '../../supervisors/mailbox.ts'
import { SharedFailures } from '../../supervisors/shared-failures.ts'
import { test } from '../harness.ts'
import { partition } from './engine-ports.ts'

const settings = { systemicWindowMs: 60_000, systemicLimitMs: 600_000 }
const at = partition()

function mailbox(id: number): Mailbox {
  return new Mailbox(id, `t${id}`, `t${id}`, at, at.actor)
}

function suspect(of: Mailbox, sqlstate: string, by: Suspect['by'] = 'server'): Suspect {
  const failure = { reason: 'effect', kind: 'permanent', errorClass: '', message: '', stack: '', sqlstate } as const
  const failed: Failed = { kind: 'failed', failure, key: null, type: 'x', traceId: '', messageId: '' }
  const record = { offset: 0, timestamp: 0, key: null, value: null, headers: [] }
  return { mailbox: of, decided: new Decided(of, new Item(record, 0, 0), failed), failure, by, held: 'no' }
}

test('however many tenants fail alike, one more costs the same', () => {
  const shared = new SharedFailures(settings, () => [])
  const suspects = Array.from({ length: 60_000 }, (_, id) => suspect(mailbox(id), '42P01', 'worker'))
  const from = performance.now()
  for (const one of suspects) {
    shared.note(one, 1_000)
    shared.shared(one, 1_000)
  }
  const ms = performance.now() - from
  // Each of them looked through all before it: 1,800,000,000 looks.
  assert.ok(ms < 1_500, `${Math.round(ms)} ms`)
})

test('who failed long ago is passed over once', () => {
  const shared = new SharedFailures(settings, () => [])
  for (let id = 0; id < 60_000; id++) shared.note(suspect(mailbox(id), '42P01', 'worker'), 0)
  const other = { ...at.actor, name: 'other' }
  const late = suspect(new Mailbox(-1, 'late', 'late', at, other), '42P01', 'worker')
  const from = performance.now()
  for (let i = 0; i < 20_000; i++) assert.is(shared.shared(late, 100_000), null)
  const ms = performance.now() - from
  assert.ok(ms < 1_500, `${Math.round(ms)} ms`)
})

test('who failed long ago does not count, and who failed again does', () => {
  const shared = new SharedFailures(settings, () => [])
  const [a, b, c] = [0, 1, 2].map((id) => suspect(mailbox(id), '23505'))
  if (a === undefined || b === undefined || c === undefined) throw new Error('three')
  for (const one of [a, b, c]) shared.note(one, 0)
  assert.is(shared.shared(a, 0), '3 of 3 active tenants fail alike')
  shared.note(a, 50_000)
  shared.note(b, 70_000)
  // c's has passed: these are two, and too few.
  assert.is(shared.shared(b, 70_000), null)
  shared.note(c, 70_000)
  assert.is(shared.shared(c, 70_000), '3 of 3 active tenants fail alike')
})

test('of many tenants that are well, only so many are looked at as fail', () => {
  let looks = 0
  const healthy = Array.from({ length: 1_000 }, (_, id) => {
    const one = mailbox(1_000 + id)
    one.processedAt = 5
    return one
  })
  function* all() {
    for (const one of healthy) {
      looks++
      yield one
    }
  }
  const shared = new SharedFailures(settings, all)
  const suspects = [0, 1, 2].map((id) => suspect(mailbox(id), '23505'))
  for (const one of suspects) shared.note(one, 1)
  for (const one of suspects) assert.is(shared.shared(one, 10), null)
  assert.ok(looks <= 9, `${looks} looks`)
})
