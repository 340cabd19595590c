import type { SeededRandom } from '../simulation/seeded-random.ts'
import type { Fault } from './fault.ts'

/** One fault of a round. */
export type Stroke = {
  readonly fault: Fault
  /** After the round's beginning. */
  readonly afterMs: number
  readonly random: SeededRandom
}

/** Faults that come together, before the group has recovered from the first. */
export type Round = {
  readonly strokes: readonly Stroke[]
  /** Undisturbed time before it. */
  readonly calmMs: number
}

/** All rounds of a seed, without an end: which faults, when, and the chance that each draws its details from. */
export function* rounds(faults: readonly Fault[], random: SeededRandom): Generator<Round> {
  for (let number = 1; ; number++) {
    const own = random.fork(`round ${number}`)
    const count = own.pick([1, 1, 1, 2, 2, 3])
    const strokes: Stroke[] = []
    for (let i = 0; i < count; i++) {
      const areas = new Set(strokes.map(({ fault }) => fault.area))
      const fault = drawn(
        faults.filter(({ area, alone }) => !areas.has(area) && (i === 0 || alone !== true)),
        own,
      )
      if (fault === undefined) break
      strokes.push({ fault, afterMs: i === 0 ? 0 : own.between(0, 6_000), random: own.fork(`stroke ${i}`) })
      if (fault.alone === true) break
    }
    yield { strokes, calmMs: own.between(300, 2_500) }
  }
}

function drawn(faults: readonly Fault[], random: SeededRandom): Fault | undefined {
  const weightOf = ({ weight = 1 }: Fault) => weight
  let at = random.next() * faults.reduce((sum, fault) => sum + weightOf(fault), 0)
  return faults.find((fault) => (at -= weightOf(fault)) < 0)
}
