import { type Hazard, hazards, type Schedule } from './schedule.ts'

/** Numbers of a schedule's options that may be made smaller, and the least that each may be. */
export const least = {
  daemons: 1,
  lanes: 1,
  workers: 1,
  groups: 1,
  topics: 1,
  partitions: 1,
  tenants: 1,
  messages: 1,
  activeMs: 500,
  duplicates: 0,
  holes: 0,
  publishes: 0,
  poison: 0,
  badEffects: 0,
  hotRows: 0,
  killers: 0,
} as const
export type Size = keyof typeof least

/** What is left of a seed's schedule: the strikes and outages with these numbers, these hazards, and smaller sizes. */
export type Reduction = {
  readonly strikes: readonly number[]
  readonly outages: readonly number[]
  readonly hazards: readonly Hazard[]
  readonly sizes: Readonly<Partial<Record<Size, number>>>
}

const sizeNames = Object.keys(least).filter((name): name is Size => name in least)

/** Everything that the schedule has. */
export function wholeOf(schedule: Schedule): Reduction {
  return {
    strikes: schedule.strikes.map((_, index) => index),
    outages: schedule.options.outages.map((_, index) => index),
    hazards: hazards.filter((hazard) => schedule.hazards[hazard] !== undefined),
    sizes: {},
  }
}

export function reduced(schedule: Schedule, reduction: Reduction): Schedule {
  const kept = Object.entries(schedule.hazards).filter(([name]) => reduction.hazards.some((hazard) => hazard === name))
  return {
    ...schedule,
    options: {
      ...schedule.options,
      ...reduction.sizes,
      outages: schedule.options.outages.filter((_, index) => reduction.outages.includes(index)),
    },
    hazards: Object.fromEntries(kept),
    strikes: schedule.strikes.filter((_, index) => reduction.strikes.includes(index)),
  }
}

/** One word for the command line, as `parsed` reads it: `strikes=0,2;hazards=commit lost;tenants=1`. */
export function written({ strikes, outages, hazards, sizes }: Reduction): string {
  const lists = { strikes, outages, hazards }
  return [
    ...Object.entries(lists).map(([name, list]) => `${name}=${list.join(',')}`),
    ...Object.entries(sizes).map(([name, size]) => `${name}=${size}`),
  ].join(';')
}

/** What `written` wrote; a list that is not named stays whole. Null when it is anything else. */
export function parsed(text: string, schedule: Schedule): Reduction | null {
  let reduction = wholeOf(schedule)
  for (const part of text.split(';')) {
    const at = part.indexOf('=')
    const name = part.slice(0, at)
    const words = part
      .slice(at + 1)
      .split(',')
      .filter((word) => word !== '')
    const numbers = words.map(Number)
    const size = sizeNames.find((known) => known === name)
    if (name === 'hazards') {
      const known = hazards.filter((hazard) => words.includes(hazard))
      if (known.length !== words.length) return null
      reduction = { ...reduction, hazards: known }
    } else if (name === 'strikes' || name === 'outages') {
      if (!numbers.every(Number.isSafeInteger)) return null
      reduction = { ...reduction, [name]: numbers }
    } else {
      const [value] = numbers
      if (size === undefined || value === undefined || !(value >= least[size])) return null
      reduction = { ...reduction, sizes: { ...reduction.sizes, [size]: value } }
    }
  }
  return reduction
}
