import * as fc from 'fast-check'
import * as assert from 'uvu/assert'
import { formatDuration, formatSize, parseDuration, parseSize } from '../../core/config/units.ts'
import { test } from '../harness.ts'

test('durations are read in every unit', () => {
  const cases: Readonly<Record<string, number>> = {
    '250ms': 250,
    '30s': 30_000,
    '5m': 300_000,
    '1.5h': 5_400_000,
    '7d': 604_800_000,
    '2w': 1_209_600_000,
    '0ms': 0,
    ' 10 s ': 10_000,
  }
  for (const [text, ms] of Object.entries(cases)) assert.is(parseDuration(text), ms, text)
})

test('sizes are read in powers of two and of ten', () => {
  const cases: Readonly<Record<string, number>> = {
    '512B': 512,
    '1kB': 1_000,
    '64KiB': 65_536,
    '8MiB': 8_388_608,
    '1.5GiB': 1_610_612_736,
    '1GB': 1_000_000_000,
  }
  for (const [text, bytes] of Object.entries(cases)) assert.is(parseSize(text), bytes, text)
})

test('what is no duration or size is undefined', () => {
  for (const text of [
    '',
    '30',
    's',
    '-1s',
    '1 y',
    '1e3s',
    '0x10s',
    '1s2s',
    '1.s',
    'Infinitys',
    '9'.repeat(400),
    '999999999w',
    'constructor',
    '1constructor',
  ])
    assert.is(parseDuration(text), undefined, text)
  for (const text of ['', '30', 'MiB', '-1B', '1mib', '1 Gi', '999999999TiB', '1toString'])
    assert.is(parseSize(text), undefined, text)
})

test('what is formatted reads back as the same number', () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 31 - 1 }), (value) => {
      assert.is(parseDuration(formatDuration(value)), value)
      assert.is(parseSize(formatSize(value)), value)
    }),
  )
})

test('numbers are written in the largest unit that is exact', () => {
  assert.is(formatDuration(90_000), '90s')
  assert.is(formatDuration(3_600_000), '1h')
  assert.is(formatDuration(604_800_000), '1w')
  assert.is(formatSize(8_388_608), '8MiB')
  assert.is(formatSize(1_000), '1kB')
  assert.is(formatSize(0), '0B')
})
