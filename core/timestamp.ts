/**
 * Reads an RFC 3339 timestamp (`2026-11-25T06:00:00.123Z`, `…+01:00`): milliseconds since 1970, NaN for anything else.
 * A zone is required, years are 0001 to 9999, and days must exist: `Date.parse` takes local times and 30 February.
 */
export function parseTimestamp(text: string): number {
  const length = text.length
  if (length < 20 || length > 35) return Number.NaN
  const day = parseDate(text)
  const hour = digits(text, 11, 2)
  const minute = digits(text, 14, 2)
  const second = digits(text, 17, 2)
  const separators =
    (text.charCodeAt(10) | 0x20) === 0x74 && text.charCodeAt(13) === 0x3a && text.charCodeAt(16) === 0x3a
  if (!separators || Number.isNaN(day) || !(hour <= 23) || !(minute <= 59) || !(second <= 60)) return Number.NaN
  let at = 19
  let fraction = 0
  if (text.charCodeAt(at) === 0x2e) {
    let scale = 100
    const from = ++at
    for (; at < length; at++) {
      const digit = text.charCodeAt(at) - 0x30
      if (digit < 0 || digit > 9) break
      fraction += digit * scale
      scale /= 10
    }
    if (at === from) return Number.NaN
  }
  const zone = zoneMinutes(text, at)
  return day + ((hour * 60 + minute - zone) * 60 + second) * 1_000 + Math.floor(fraction + 1e-9)
}

/** Milliseconds at the start of the day `YYYY-MM-DD` (UTC) that the text begins with, NaN where it does not. */
export function parseDate(text: string): number {
  const year = digits(text, 0, 4)
  const month = digits(text, 5, 2)
  const day = digits(text, 8, 2)
  if (text.charCodeAt(4) !== 0x2d || text.charCodeAt(7) !== 0x2d) return Number.NaN
  if (!(year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= daysIn(year, month))) return Number.NaN
  // Days from the civil calendar, with the year beginning in March.
  const y = month > 2 ? year : year - 1
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return (era * 146_097 + dayOfEra - 719_468) * 86_400_000
}

function daysIn(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

function digits(text: string, from: number, count: number): number {
  let value = 0
  for (let i = from; i < from + count; i++) {
    const digit = text.charCodeAt(i) - 0x30
    if (!(digit >= 0 && digit <= 9)) return Number.NaN
    value = value * 10 + digit
  }
  return value
}

/** Minutes east of UTC; NaN unless a zone stands at `at` and ends the text. */
function zoneMinutes(text: string, at: number): number {
  const sign = text.charCodeAt(at)
  if ((sign | 0x20) === 0x7a) return at + 1 === text.length ? 0 : Number.NaN
  if ((sign !== 0x2b && sign !== 0x2d) || at + 6 !== text.length || text.charCodeAt(at + 3) !== 0x3a) return Number.NaN
  const hours = digits(text, at + 1, 2)
  const minutes = digits(text, at + 4, 2)
  if (!(hours <= 23 && minutes <= 59)) return Number.NaN
  return (sign === 0x2b ? 1 : -1) * (hours * 60 + minutes)
}
