import { parseArgs } from 'node:util'
import { Marks } from './chaos.ts'
import { scheduleOf } from './schedule.ts'
import { simulate } from './simulate.ts'

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '100' }, seed: { type: 'string' }, trace: { type: 'boolean' } },
})
const marks = new Marks()
const t = performance.now()
let events = 0
if (values.trace) {
  const r = await simulate(scheduleOf(values.seed ?? '1'), {
    trace: (at, who, what) => process.stdout.write(`${at.toFixed(1).padStart(10)}  ${who.padEnd(10)} ${what}\n`),
  })
  process.stdout.write(`${JSON.stringify(r.schedule, null, 1)}\n${JSON.stringify(r.violation)}\n`)
} else {
  const first = Number(values.seed ?? '1')
  const rules = new Map<string, string[]>()
  for (let i = 0; i < Number(values.seeds); i++) {
    const r = await simulate(scheduleOf(String(first + i)), { marks })
    events += r.events
    if (r.violation) {
      const list = rules.get(r.violation.rule) ?? []
      list.push(`${first + i}: ${r.violation.detail}`)
      rules.set(r.violation.rule, list)
    }
  }
  for (const [rule, list] of rules)
    process.stdout.write(
      `${rule}: ${list.length}\n${list
        .slice(0, 4)
        .map((l) => `   ${l.slice(0, 700)}`)
        .join('\n')}\n`,
    )
  process.stdout.write(`${events} events, ${((performance.now() - t) / 1000).toFixed(1)} s\n`)
}
