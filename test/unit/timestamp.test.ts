import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { isTimestamp } from '../../core/timestamp.ts'
import { test } from '../harness.ts'

test('every date that JavaScript writes within four digits of year is a timestamp', () => {
  const dates = fc.date({
    min: new Date('0001-01-01T00:00:00Z'),
    max: new Date('9999-12-31T23:59:59.999Z'),
    noInvalidDate: true,
  })
  fc.assert(
    fc.property(dates, (date) => isTimestamp(date.toISOString())),
    { numRuns: 2_000 },
  )
})

test('a day is one exactly where the calendar has it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9_999 }), fc.nat(13), fc.nat(32), (year, month, day) => {
      const two = (n: number) => String(n).padStart(2, '0')
      const text = `${String(year).padStart(4, '0')}-${two(month)}-${two(day)}T00:00:00.000Z`
      const date = new Date(text)
      // JavaScript rolls 30 February over into March.
      const real = !Number.isNaN(date.getTime()) && date.toISOString() === text
      assert.is(isTimestamp(text), real, text)
    }),
    { numRuns: 5_000 },
  )
})

test('zones and fractions of any length are understood', () => {
  for (const text of [
    '2026-11-25T06:00:00+01:00',
    '2026-11-25T06:00:00.123456789-00:30',
    '2026-11-25t06:00:00.1z',
    '2016-12-31T23:59:60Z',
    '2024-02-29T00:00:00Z',
  ]) {
    assert.ok(isTimestamp(text), text)
  }
})

test('what names no moment is no timestamp', () => {
  for (const text of [
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
    '2026-11-25T06:00:00Z\n',
    '2026-11-25T06:00:00+1:00',
    '0000-01-01T00:00:00Z',
    '+294277-01-01T00:00:00Z',
    '2026-11-25T06:00:00+24:00',
    '2026/11/25T06:00:00Z',
    '20261125T060000Z          ',
    '٢٠٢٦-11-25T06:00:00Z',
  ]) {
    assert.not(isTimestamp(text), text)
  }
})
