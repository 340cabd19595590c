/** How a figure that was looked at in equal steps changes. */
export type Trend = {
  /** Change an hour: the median of the slopes between all pairs, which a few outliers do not move. */
  readonly per_hour: number
  /** Whether it goes up all the time and by enough to matter, so that there is no bound in sight. */
  readonly grows: boolean
}

/** Below this there is no saying. */
const leastValues = 8
/** What is still warming up says nothing of later. */
const skippedShare = 1 / 3
/** Of all pairs, how many more go up than down (Kendall's tau). */
const leastAgreement = 0.6
/** Growth over what was looked at, as a share of the middle value. */
const leastGrowth = 0.05

/** The trend of values that were taken every `stepSeconds`; its first third is left out. */
export function trendOf(values: readonly number[], stepSeconds: number): Trend {
  const late = values.slice(Math.floor(values.length * skippedShare))
  const slopes: number[] = []
  let agreement = 0
  for (const [i, from] of late.entries()) {
    for (const [j, to] of late.entries()) {
      if (j <= i) continue
      slopes.push((to - from) / (j - i))
      agreement += Math.sign(to - from)
    }
  }
  const slope = middleOf(slopes)
  const grows =
    values.length >= leastValues &&
    agreement >= leastAgreement * slopes.length &&
    slope * (late.length - 1) > leastGrowth * Math.abs(middleOf(late))
  return { per_hour: slope * (3_600 / stepSeconds), grows }
}

function middleOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}
