import { parseArgs } from 'node:util'
import { Marks } from './chaos.ts'
import { scheduleOf } from './schedule.ts'
import { simulate, type Simulated } from './simulate.ts'

const usage = `npm run simulate -- [options]
  --seeds N    schedules to run (default 100)
  --seed S     the first seed, a number (default 1); with --trace the only one, and any word
  --trace      print every event of the one schedule, in virtual milliseconds
  --json       the last line of standard output is one object
Ends with 0, with 1 when a schedule violates a guarantee, with 2 when it was called wrongly.
`

type Found = { readonly seed: string; readonly rule: string; readonly detail: string }

const say = (text: string) => process.stderr.write(`${text}\n`)

function options() {
  try {
    return parseArgs({
      options: {
        seeds: { type: 'string', default: '100' },
        seed: { type: 'string', default: '1' },
        trace: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch {
    return null
  }
}

async function trace(seed: string): Promise<Found[]> {
  const { violation, schedule } = await simulate(scheduleOf(seed), {
    trace: (at, who, what) => process.stdout.write(`${at.toFixed(1).padStart(10)}  ${who.padEnd(10)} ${what}\n`),
  })
  say(JSON.stringify(schedule))
  return foundIn(seed, violation)
}

async function runAll(first: number, count: number): Promise<{ found: Found[]; events: number; marks: Marks }> {
  const marks = new Marks()
  const found: Found[] = []
  let events = 0
  for (let i = 0; i < count; i++) {
    const seed = String(first + i)
    const run = await simulate(scheduleOf(seed), { marks })
    events += run.events
    found.push(...foundIn(seed, run.violation))
    if (process.stderr.isTTY) process.stderr.write(`\r${i + 1} of ${count} schedules, ${found.length} violations `)
    else if ((i + 1) % 100 === 0) say(`${i + 1} of ${count} schedules, ${found.length} violations`)
  }
  if (process.stderr.isTTY) say('')
  return { found, events, marks }
}

function foundIn(seed: string, violation: Simulated['violation']): Found[] {
  if (violation === null) return []
  say(`seed ${seed}: ${violation.rule}: ${violation.detail}\n  npm run simulate -- --seed ${seed} --trace`)
  return [{ seed, rule: violation.rule, detail: violation.detail }]
}

const given = options()
const [first, count] = [Number(given?.seed), Number(given?.seeds)]
if (given === null || !Number.isSafeInteger(count) || count < 1 || !(given.trace || Number.isSafeInteger(first))) {
  say(usage)
  process.exitCode = 2
} else if (given.help) {
  say(usage)
} else {
  const started = performance.now()
  const { found, events, marks } = given.trace
    ? { found: await trace(given.seed), events: 0, marks: new Marks() }
    : await runAll(first, count)
  const seconds = Math.round((performance.now() - started) / 100) / 10
  if (!given.trace)
    say(`${count} schedules, ${events.toLocaleString('en')} events, ${seconds} s: ${found.length} violations`)
  if (given.json)
    process.stdout.write(
      `${JSON.stringify({ schedules: count, events, seconds, violations: found, reached: Object.fromEntries(marks.counts) })}\n`,
    )
  process.exitCode = found.length > 0 ? 1 : 0
}
