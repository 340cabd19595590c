/** How a search for a rate goes. */
export type SearchOptions = {
  /** Tried first; doubled as long as it holds, halved as long as it does not. */
  readonly first: number
  /** Neither above `most` nor below `least` is anything tried. */
  readonly least: number
  readonly most: number
  /** It ends when what holds and what does not are this close, as a share of what holds. */
  readonly within: number
}

/**
 * The highest rate that holds, by bisection; undefined when not even the least does. A rate above one that did not hold
 * is never tried: the search believes that more is harder.
 */
export async function highestThatHolds(
  { first, least, most, within }: SearchOptions,
  holds: (rate: number) => Promise<boolean>,
): Promise<number | undefined> {
  let good: number | undefined
  let bad: number | undefined
  let rate = Math.min(most, Math.max(least, first))
  for (;;) {
    if (await holds(rate)) good = rate
    else bad = rate
    if (good === undefined) {
      if (rate <= least) return undefined
      rate = Math.max(least, Math.floor(rate / 2))
    } else if (bad === undefined) {
      if (good >= most) return good
      rate = Math.min(most, good * 2)
    } else {
      if (bad - good <= Math.max(1, good * within)) return good
      rate = Math.floor((good + bad) / 2)
    }
  }
}
