import { type Act, type Logged, type Range, within } from './history.ts'

/** One log of a tenant: its records in their order, what operators did meanwhile, and what is done of it in the end. */
export type Chapter = {
  readonly records: readonly Logged[]
  readonly acts: readonly Act[]
  /** Undefined where all of it must be done. */
  readonly done?: (offset: number) => boolean
}

/** How far rows can be told as what came of the chapters: `told` of them; `whole`: all of them, and nothing is missing. */
export type Told = { readonly told: number; readonly whole: boolean }

type Step = { readonly offset: number; readonly id: string }

/** What runs, in order, from one act to the next, and which act led to it. */
type Pass = {
  readonly steps: readonly Step[]
  readonly act: Act | undefined
  /** The first step before the act that it passes over; the others came to pass. */
  readonly passedAt: number
}

/**
 * Whether a tenant's rows, in the order in which they were made, are what the promise allows: each message of a log
 * once and in order, up to wherever an operator moved the group, and from there again as documented; what a log had and
 * was not done is lost with it when its topic is deleted. How far things were at each act nobody noted, so every way to
 * read the rows is followed.
 */
export function retell(rows: readonly string[], chapters: readonly Chapter[]): Told {
  let [starts, told] = [new Set([0]), 0]
  for (const chapter of chapters) {
    const ends = new Set<number>()
    for (const start of starts) {
      const read = readOn(rows, start, chapter)
      for (const end of read.ends) ends.add(end)
      told = Math.max(told, read.told)
    }
    starts = ends
  }
  return { told, whole: starts.has(rows.length) }
}

/** Where in the rows a chapter that begins at `start` may end, and how far it can be read. */
function readOn(rows: readonly string[], start: number, chapter: Chapter) {
  const passes = passesOf(chapter, new Set(rows.slice(0, start)))
  const all = passes.at(-1)?.steps.length ?? 0
  const ends: number[] = []
  /** By pass, the steps that may come next. */
  let places = passes.map((_, i) => new Set(i === 0 ? [0] : []))
  for (let told = start; ; told++) {
    lead(passes, places)
    if (places.at(-1)?.has(all) === true) ends.push(told)
    const id = rows[told]
    const next = places.map((steps, pass) => {
      const of = passes[pass]?.steps ?? []
      return new Set([...steps].filter((step) => of[step]?.id === id).map((step) => step + 1))
    })
    if (id === undefined || next.every(({ size }) => size === 0)) return { ends, told }
    places = next
  }
}

/** Adds where acts may have led from where things are. */
function lead(passes: readonly Pass[], places: readonly Set<number>[]): void {
  for (const [i, { steps, act, passedAt }] of passes.entries()) {
    const before = passes[i - 1]?.steps
    if (act === undefined || before === undefined) continue
    for (const place of places[i - 1] ?? []) {
      const ran = before[place - 1]?.offset ?? -1
      const next = before[place]?.offset ?? Number.POSITIVE_INFINITY
      // What was read before the position a reset goes back to is done first, also where it was parked.
      if (act.kind === 'rerun' && next >= (act.parked ? act.to : act.done) && ran < act.until) places[i]?.add(0)
      // What was passed over had not run.
      if (act.kind === 'skip' && place <= passedAt) places[i]?.add(firstFrom(steps, next))
    }
  }
}

function firstFrom(steps: readonly Step[], offset: number): number {
  let [low, high] = [0, steps.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((steps[middle]?.offset ?? 0) < offset) low = middle + 1
    else high = middle
  }
  return low
}

function passesOf({ records, acts, done }: Chapter, known: ReadonlySet<string>): readonly Pass[] {
  // What memory had, and nobody had done, is lost with the topic, wherever it was: behind it something may be parked.
  const last = done === undefined ? records : records.filter(({ offset }) => done(offset))
  let [from, until] = [0, 0]
  let skipped: readonly Range[] = []
  let steps = stepsOf(acts.length === 0 ? last : records, { from, until, skipped, known })
  const passes: Pass[] = [{ steps, act: undefined, passedAt: 0 }]
  for (const [i, act] of acts.entries()) {
    const passed = act.kind === 'skip' ? steps.findIndex(({ offset }) => within(act.passed, offset)) : -1
    const passedAt = passed < 0 ? steps.length : passed
    if (act.kind === 'skip') skipped = [...skipped, ...act.passed]
    else {
      skipped = skipped.flatMap(([a, b]): Range[] => (a < act.to ? [[a, Math.min(b, act.to)]] : []))
      from = act.to
      until = Math.max(until, act.until)
    }
    steps = stepsOf(i === acts.length - 1 ? last : records, { from, until, skipped, known })
    passes.push({ steps, act, passedAt })
  }
  return passes
}

/** From `from` on; up to `until` each message once, whatever is known of it, then what is new. */
function stepsOf(
  records: readonly Logged[],
  at: {
    readonly from: number
    readonly until: number
    readonly skipped: readonly Range[]
    readonly known: ReadonlySet<string>
  },
): readonly Step[] {
  const [before, ran] = [new Set(at.known), new Set<string>()]
  const steps: Step[] = []
  for (const { offset, id, poison } of records) {
    if (poison || within(at.skipped, offset)) continue
    if (offset < at.from) before.add(id)
    else if (!ran.has(id) && (offset < at.until || !before.has(id))) {
      ran.add(id)
      steps.push({ offset, id })
    }
  }
  return steps
}
