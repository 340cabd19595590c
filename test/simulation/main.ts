import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { Marks } from './chaos.ts'
import { added, type FoundViolation, nothingRun, type SimulationRun } from './found.ts'
import { mutants } from './mutants.ts'
import { inParallel, runMutant, runSlice } from './processes.ts'
import { parsed, reduced, written } from './reduction.ts'
import { type Schedule, scheduleOf } from './schedule.ts'
import { shrink } from './shrink.ts'
import { simulate } from './simulate.ts'

const usage = `npm run simulate -- [options]
  --seeds N     schedules to run (default 100)
  --seed S      the first seed, a number (default 1); with --trace the only one, and any word
  --jobs N      processes that run them (default: one for each core, from 1,000 schedules on)
  --shrink      make a failing schedule as small as it still fails, and print what is left
  --reduce TEXT run only that part of the schedule: what --shrink printed
  --trace       print every event of the one schedule, in virtual milliseconds
  --mutants     then plant each of ${mutants.length} faults into the engine, and search for it in up to 1,000 schedules
  --json        the last line of standard output is one object
Ends with 0, with 1 when a schedule violates a guarantee or a planted fault is not found, with 2 when it was called
wrongly, with 130 when it was interrupted.
`
const sliceSeeds = 250
const mutantSeeds = 1_000

const say = (text: string) => process.stderr.write(`${text}\n`)

function options() {
  try {
    return parseArgs({
      options: {
        seeds: { type: 'string', default: '100' },
        seed: { type: 'string', default: '1' },
        jobs: { type: 'string' },
        shrink: { type: 'boolean', default: false },
        reduce: { type: 'string' },
        trace: { type: 'boolean', default: false },
        mutants: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch {
    return null
  }
}

type Given = NonNullable<ReturnType<typeof options>>

let interrupted = false

/** On a terminal one line that changes, elsewhere plain lines. */
function progress(text: string, last: boolean): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${text} ${last ? '\n' : ''}`)
  else say(text)
}

/** The one schedule that `--trace` or `--reduce` asks for; null when the reduction cannot be read. */
function chosen({ seed, reduce }: Given): Schedule | null {
  const whole = scheduleOf(seed)
  if (reduce === undefined) return whole
  const reduction = parsed(reduce, whole)
  return reduction === null ? null : reduced(whole, reduction)
}

async function runOne(given: Given, schedule: Schedule, marks: Marks): Promise<SimulationRun> {
  const { seed } = schedule
  const trace = (at: number, who: string, what: string) =>
    process.stdout.write(`${at.toFixed(1).padStart(10)}  ${who.padEnd(10)} ${what}\n`)
  const { violation, events } = await simulate(schedule, { marks, ...(given.trace && { trace }) })
  const found: FoundViolation[] = []
  if (violation !== null) {
    const { rule, detail } = violation
    const reduction = given.shrink ? await shrunk(schedule, rule) : given.reduce
    const part = reduction === undefined ? '' : ` --reduce '${reduction}'`
    say(`seed ${seed}: ${rule}: ${detail}\n  npm run simulate -- --seed ${seed}${part} --trace`)
    found.push({ seed, rule, detail, ...(reduction !== undefined && { reduction }) })
  }
  return { ...nothingRun, schedules: 1, failures: found.length, events, violations: found }
}

async function shrunk(schedule: Schedule, rule: string): Promise<string> {
  const { reduction, tries } = await shrink(schedule, async (smaller) => {
    const { violation } = await simulate(smaller)
    return violation?.rule === rule
  })
  say(`seed ${schedule.seed}: shrunk in ${tries} runs`)
  return written(reduction)
}

/** In this process. */
async function runHere(given: Given, first: number, count: number): Promise<SimulationRun> {
  const marks = new Marks()
  let all = nothingRun
  for (let i = 0; i < count && !interrupted; i++) {
    all = added(all, await runOne(given, scheduleOf(String(first + i)), marks))
    if (process.stderr.isTTY || (i + 1) % 100 === 0)
      progress(`${i + 1} of ${count} schedules, ${all.failures} violations`, i + 1 === count)
  }
  return { ...all, reached: Object.fromEntries(marks.counts) }
}

async function runInProcesses(given: Given, first: number, count: number, jobs: number): Promise<SimulationRun> {
  let all = nothingRun
  const starts = Array.from({ length: Math.ceil(count / sliceSeeds) }, (_, slice) => first + slice * sliceSeeds)
  await inParallel(
    starts,
    jobs,
    () => interrupted,
    async (start) => {
      const run = await runSlice(start, Math.min(sliceSeeds, first + count - start))
      if (run === null) return
      const violations: FoundViolation[] = []
      for (const { seed } of run.violations)
        violations.push(...(await runOne(given, scheduleOf(seed), new Marks())).violations)
      all = added(all, { ...run, violations })
      progress(`${all.schedules} of ${count} schedules, ${all.failures} violations`, all.schedules === count)
    },
  )
  return all
}

/** Those that were caught, and those that were not. */
async function runMutants(jobs: number): Promise<{ mutants: number; caught: number; missed: string[] }> {
  const missed: string[] = []
  let [caught, ran] = [0, 0]
  await inParallel(
    mutants,
    jobs,
    () => interrupted,
    async ({ name }) => {
      const found = await runMutant(name, mutantSeeds)
      if (found === undefined) return
      if (found === null) missed.push(name)
      else caught++
      say(
        `${++ran} of ${mutants.length} mutants: ${found === null ? 'NOT FOUND' : `${found.rule}, seed ${found.after}`}: ${name}`,
      )
    },
  )
  return { mutants: mutants.length, caught, missed }
}

/** Which paths were hardly taken, and how much was found out for the time. */
function sayReached({ reached, cpu_seconds }: SimulationRun): void {
  const rarest = Object.entries(reached).sort(([, a], [, b]) => a - b)
  const hits = rarest.reduce((sum, [, count]) => sum + count, 0)
  say(
    `${rarest.length} rare paths, ${Math.round((hits / cpu_seconds) * 60).toLocaleString('en')} times a CPU minute; rarest: ${rarest
      .slice(0, 5)
      .map(([mark, count]) => `${mark} ${count}`)
      .join(', ')}`,
  )
}

async function run(given: Given, first: number, count: number, jobs: number): Promise<void> {
  const started = performance.now()
  const one = given.trace || given.reduce !== undefined ? chosen(given) : undefined
  if (one === null) {
    say(`--reduce is what --shrink printed for this seed.\n${usage}`)
    process.exitCode = 2
    return
  }
  const schedules =
    one !== undefined
      ? await runOne(given, one, new Marks())
      : jobs > 1
        ? await runInProcesses(given, first, count, jobs)
        : await runHere(given, first, count)
  if (given.trace) say(JSON.stringify(one))
  const own = process.cpuUsage()
  const result = { ...schedules, cpu_seconds: schedules.cpu_seconds + (own.user + own.system) / 1e6 }
  const seconds = Math.round((performance.now() - started) / 100) / 10
  say(
    `${result.schedules} schedules, ${result.events.toLocaleString('en')} events, ${seconds} s: ${result.failures} violations`,
  )
  if (result.schedules >= 1_000) sayReached(result)
  const planted = given.mutants && !interrupted ? await runMutants(Math.max(jobs, availableParallelism())) : undefined
  if (planted !== undefined) say(`${planted.caught} of ${planted.mutants} mutants caught`)
  if (given.json) process.stdout.write(`${JSON.stringify({ ...result, seconds, ...planted })}\n`)
  const right = result.failures === 0 && (planted === undefined || planted.missed.length === 0)
  process.exitCode = interrupted ? 130 : right ? 0 : 1
}

const given = options()
const [first, count] = [Number(given?.seed), Number(given?.seeds)]
const jobs = given?.jobs === undefined ? (count >= 1_000 ? availableParallelism() : 1) : Number(given.jobs)
const single = given?.trace === true || given?.reduce !== undefined
const counts = [count, jobs].every((number) => Number.isSafeInteger(number) && number >= 1)
if (given === null || !counts || !(single || Number.isSafeInteger(first))) {
  say(usage)
  process.exitCode = 2
} else if (given.help) {
  say(usage)
} else {
  // The first one lets what runs come to its end and says what was found so far; the second one ends it.
  process.once('SIGINT', () => {
    interrupted = true
  })
  await run(given, first, count, jobs)
}
