/**
 * The probability that two samples of one distribution are as far apart in their ranks as these, or further, to either
 * side: Mann and Whitney's test, exact, values that are equal sharing their ranks. 1 when one of them is empty.
 */
export function rankTest(a: readonly number[], b: readonly number[]): number {
  const ranks = doubledRanks([...a, ...b])
  const observed = ranks.slice(0, a.length).reduce((sum, rank) => sum + rank, 0)
  // ways[n][s]: in how many ways n of the values have ranks that sum up to s. Ranks are doubled, so that they are whole.
  const all = ranks.reduce((sum, rank) => sum + rank, 0)
  const ways = Array.from({ length: a.length + 1 }, () => new Float64Array(all + 1))
  const [none] = ways
  if (none !== undefined) none[0] = 1
  for (const rank of ranks) {
    for (let n = a.length; n > 0; n--) {
      const [taken, before] = [ways[n], ways[n - 1]]
      if (taken === undefined || before === undefined) continue
      for (let sum = all; sum >= rank; sum--) taken[sum] = (taken[sum] ?? 0) + (before[sum - rank] ?? 0)
    }
  }
  const sums = ways[a.length] ?? new Float64Array(0)
  const mean = (all * a.length) / (a.length + b.length)
  let [far, total] = [0, 0]
  sums.forEach((count, sum) => {
    total += count
    if (Math.abs(sum - mean) >= Math.abs(observed - mean) - 1e-9) far += count
  })
  return total === 0 || Number.isNaN(mean) ? 1 : far / total
}

/** Twice the rank of each value, from 1; equal ones have the mean of their places. */
function doubledRanks(values: readonly number[]): readonly number[] {
  return values.map((value) => {
    const below = values.filter((other) => other < value).length
    const equal = values.filter((other) => other === value).length
    return 2 * below + equal + 1
  })
}
