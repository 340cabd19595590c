import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { parseTimestamp } from '../../core/timestamp.ts'
import { test } from '../harness.ts'

test('every date that JavaScript writes is read as the same time', () => {
  const dates = fc.date({
    min: new Date('0001-01-01T00:00:00Z'),
    max: new Date('9999-12-31T23:59:59.999Z'),
    noInvalidDate: true,
  })
  fc.assert(
    fc.property(dates, (date) => parseTimestamp(date.toISOString()) === date.getTime()),
    { numRuns: 2_000 },
  )
})

test('zones and fractions of any length are understood', () => {
  assert.is(parseTimestamp('2026-11-25T06:00:00+01:00'), Date.UTC(2026, 10, 25, 5))
  assert.is(parseTimestamp('2026-11-25T06:00:00.123456789-00:30'), Date.UTC(2026, 10, 25, 6, 30, 0, 123))
  assert.is(parseTimestamp('2026-11-25t06:00:00.1z'), Date.UTC(2026, 10, 25, 6, 0, 0, 100))
  assert.is(parseTimestamp('2016-12-31T23:59:60Z'), Date.UTC(2017, 0, 1))
})

test('what names no moment is no timestamp', () => {
  const wrong = [
    '',
    'infinity',
    '2026-11-25',
    '2026-11-25T06:00:00',
    '2026-02-30T00:00:00Z',
    '2025-02-29T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-11-25T24:00:00Z',
    '2026-11-25T06:60:00Z',
    '2026-11-25T06:00:00.Z',
    '2026-11-25T06:00:00Zx',
    '2026-11-25T06:00:00+1:00',
    '0000-01-01T00:00:00Z',
    '+294277-01-01T00:00:00Z',
    '2026-11-25T06:00:00+24:00',
    '2026/11/25T06:00:00Z',
    '20261125T060000Z          ',
  ]
  for (const text of wrong) assert.ok(Number.isNaN(parseTimestamp(text)), text)
})
