/**
 * Durations and sizes as people write them: `"30s"`, `"1.5h"`, `"8MiB"`. Durations become milliseconds, sizes bytes; the
 * typed side says so in its names (`drainDeadlineMs`, `budgetBytes`).
 */

const milliseconds: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

const bytes: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1_000,
  KB: 1_000,
  MB: 1_000_000,
  GB: 1_000_000_000,
  TB: 1_000_000_000_000,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
}

const amount = /^(\d{1,15}(?:\.\d{1,6})?) ?([a-zA-Z]{1,3})$/

/** The longest duration that means anything here: a thousand years. Past it sums lose whole milliseconds. */
const maxMs = 1_000 * 365 * 86_400_000

/** Milliseconds of `"250ms"`, `"30s"`, `"5m"`, `"1.5h"`, `"7d"`, `"2w"`; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  return parse(text, milliseconds, maxMs)
}

/** Bytes of `"512B"`, `"64KiB"`, `"8MiB"`, `"1GB"`; undefined for anything else. */
export function parseSize(text: string): number | undefined {
  return parse(text, bytes, Number.MAX_SAFE_INTEGER)
}

function parse(text: string, units: Readonly<Record<string, number>>, max: number): number | undefined {
  const match = amount.exec(text.trim())
  if (!match) return undefined
  const [, digits = '', unit = ''] = match
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined
  if (factor === undefined) return undefined
  const value = Math.round(Number(digits) * factor)
  return value <= max ? value : undefined
}

/** The shortest exact way to write a duration: 90000 is `90s`, 3600000 is `1h`. */
export function formatDuration(ms: number): string {
  return format(ms, milliseconds, ['w', 'd', 'h', 'm', 's'], 'ms')
}

/** The shortest exact way to write a size: 8388608 is `8MiB`, 1000 is `1kB`. */
export function formatSize(size: number): string {
  return format(size, bytes, ['TiB', 'GiB', 'MiB', 'KiB', 'GB', 'MB', 'kB'], 'B')
}

function format(
  value: number,
  units: Readonly<Record<string, number>>,
  names: readonly string[],
  smallest: string,
): string {
  for (const name of names) {
    const factor = units[name] ?? 1
    if (value >= factor && value % factor === 0) return `${value / factor}${name}`
  }
  return `${value}${smallest}`
}
