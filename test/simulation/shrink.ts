import { least, type Reduction, reduced, type Size, wholeOf } from './reduction.ts'
import type { Schedule } from './schedule.ts'

export type Shrunk = { readonly reduction: Reduction; readonly tries: number }

/**
 * Makes a failing schedule smaller for as long as it fails in the same way: strikes, hazards and outages are left out by
 * halves and then one by one (Zeller's ddmin), numbers are brought down to the least and then by bisection; round after
 * round until nothing more can go, or `mostTries` schedules were run.
 */
export async function shrink(
  schedule: Schedule,
  fails: (smaller: Schedule) => Promise<boolean>,
  mostTries = 400,
): Promise<Shrunk> {
  let best = wholeOf(schedule)
  let tries = 0
  const take = async (candidate: Reduction): Promise<boolean> => {
    if (tries >= mostTries) return false
    tries++
    if (!(await fails(reduced(schedule, candidate)))) return false
    best = candidate
    return true
  }

  const thin = async (list: 'strikes' | 'outages' | 'hazards'): Promise<boolean> => {
    let fewer = false
    for (let size = Math.ceil(best[list].length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let from = 0; from < best[list].length; ) {
        const gone = await take(without(best, list, from, size))
        fewer ||= gone
        if (!gone) from += size
      }
    }
    return fewer
  }

  const lower = async (size: Size): Promise<boolean> => {
    const before = best.sizes[size] ?? schedule.options[size]
    let floor: number = least[size]
    if (before <= floor) return false
    if (await take(sized(best, size, floor))) return true
    // Fractions are there or not; a smaller one teaches nothing.
    if (!Number.isInteger(before) || least[size] === 0) return false
    for (let high = before; high - floor > Math.max(1, before / 20); ) {
      const middle = Math.floor((high + floor) / 2)
      if (await take(sized(best, size, middle))) high = middle
      else floor = middle
    }
    return (best.sizes[size] ?? before) < before
  }

  const sizes = Object.keys(least).filter((name): name is Size => name in least)
  for (let smaller = true; smaller && tries < mostTries; ) {
    smaller = false
    for (const list of ['strikes', 'outages', 'hazards'] as const) smaller = (await thin(list)) || smaller
    for (const size of sizes) smaller = (await lower(size)) || smaller
  }
  return { reduction: best, tries }
}

function without(reduction: Reduction, list: 'strikes' | 'outages' | 'hazards', from: number, size: number): Reduction {
  return { ...reduction, [list]: reduction[list].toSpliced(from, size) }
}

function sized(reduction: Reduction, size: Size, value: number): Reduction {
  return { ...reduction, sizes: { ...reduction.sizes, [size]: value } }
}
