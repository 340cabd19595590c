/** The first millisecond, since 1970, after the year 9999: RFC 3339 has no later ones, and PostgreSQL is not given any. */
export const afterYear9999 = 253_402_300_800_000

const form =
  /^\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d{1,12})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/

/**
 * Whether the text is an RFC 3339 timestamp: `2026-11-25T06:00:00.123Z`, `…+01:00`. A zone is required, years are 0001
 * to 9999, and days must exist: `Date.parse` takes local times and 30 February.
 */
export function isTimestamp(text: string): boolean {
  if (isOfLastMinute(text)) return true
  if (!form.test(text) || !beginsWithDate(text)) return false
  lastMinute = text.slice(0, 17)
  return true
}

/** `2026-11-25T06:00:` of the last timestamp. A stream's next one is mostly of the same minute. */
let lastMinute = 'none, and longer than any that is compared'

/** Half the time of the regular expression, for what JavaScript writes. */
function isOfLastMinute(text: string): boolean {
  return (
    text.length === 24 &&
    text.startsWith(lastMinute) &&
    isDigit(text, 17) &&
    text.charCodeAt(17) < 0x36 &&
    isDigit(text, 18) &&
    text.charCodeAt(19) === 0x2e &&
    isDigit(text, 20) &&
    isDigit(text, 21) &&
    isDigit(text, 22) &&
    text.charCodeAt(23) === 0x5a
  )
}

function isDigit(text: string, at: number): boolean {
  const digit = text.charCodeAt(at) - 0x30
  return digit >= 0 && digit <= 9
}

/** The date that was found to exist last: most timestamps of a stream have the same one. */
let lastDate = ''

/** Whether the text begins with a day that exists, `YYYY-MM-DD`, in the years 0001 to 9999. */
export function beginsWithDate(text: string): boolean {
  if (lastDate !== '' && text.startsWith(lastDate)) return true
  const found = /^(\d{4})-(\d\d)-(\d\d)/.exec(text)
  if (found === null) return false
  const [date, year, month, day] = found
  if (!exists(Number(year), Number(month), Number(day))) return false
  lastDate = date
  return true
}

function exists(year: number, month: number, day: number): boolean {
  return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= daysIn(year, month)
}

function daysIn(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}
