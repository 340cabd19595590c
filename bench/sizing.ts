/** How long a run should take, warm-up included. */
const wantedSeconds = 15
/** What is shorter says nothing of the rate yet. */
const tellingSeconds = 3
const firstTry = 2_000

/**
 * How many records a run of about 15 s wants, at most `most`: found by trying more and more, so that a subject that does
 * 200 a second is not given a million. Always 1, 2 or 5 times a power of ten, so that subjects share topics.
 */
export async function recordsFor(
  most: number,
  attempt: (records: number) => Promise<{ readonly rate_from_start_per_second: number }>,
): Promise<number> {
  for (let records = roundRecords(Math.min(firstTry, most)); ; ) {
    const { rate_from_start_per_second: rate } = await attempt(records)
    const wanted = roundRecords(Math.min(most, rate * wantedSeconds))
    if (records / rate >= tellingSeconds || wanted <= records) return wanted
    records = roundRecords(Math.min(most, wanted, records * 20))
  }
}

/** The greatest 1, 2 or 5 times a power of ten that is not more; 1 for less than 1. */
export function roundRecords(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)))
  return power * (value / power >= 5 ? 5 : value / power >= 2 ? 2 : 1)
}
