import { parseArgs } from 'node:util'
import { data, say, table, tellError } from '../../cli/output.ts'
import { allFaults } from './faults.ts'
import { advice } from './patience.ts'
import { isClean, objectOf, textOf } from './report.ts'
import { type ChaosOptions, runChaos } from './run.ts'

const usage = `npm run chaos -- [options]
  --minutes N       how long faults are injected (default 2)
  --seed S          any word: draws the daemons, the faults, their times and details (default: a new one)
  --scenario NAME   only this fault, over and over; several: NAME,NAME
  --rate N          messages a second (default 600)
  --logs FOLDER     keep all logs there
  --json            the last line of standard output is one object
Three brokers, PostgreSQL, Redis and two to four daemons of its own, in a temporary folder, under load; Ctrl-C removes all.
Ends with 0 when nothing was lost, duplicated, reordered or invented and all else is as it should be, else with 1; with 2
when it was called wrongly.

Faults:
${table(allFaults.map(({ name, about }) => [`  ${name}`, about]))}
`

function options() {
  try {
    return parseArgs({
      options: {
        minutes: { type: 'string', default: '2' },
        seed: { type: 'string', default: String(Date.now() % 1_000_000) },
        scenario: { type: 'string' },
        logs: { type: 'string' },
        rate: { type: 'string', default: '600' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch {
    return null
  }
}

/** Undefined when a name is unknown. */
function chosen(names: string | undefined) {
  const wanted = names?.split(',') ?? allFaults.map(({ name }) => name)
  const faults = allFaults.filter(({ name }) => wanted.includes(name))
  return faults.length === wanted.length ? faults : undefined
}

async function run(asked: Pick<ChaosOptions, 'minutes' | 'perSecond' | 'seed' | 'faults' | 'logs'>, json: boolean) {
  const abort = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!abort.signal.aborted) say(`${name}: ending, and removing what was started`)
      abort.abort()
    })
  }
  // Nobody reads what we say any more. A broken pipe would end us at once, and leave the servers running.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => abort.abort())
  try {
    const report = await runChaos({ ...asked, signal: abort.signal, say })
    say(`\n${textOf(report)}`)
    if (json) data(JSON.stringify(objectOf(report)))
    return isClean(report) ? 0 : 1
  } catch (error) {
    if (abort.signal.aborted) return 130
    tellError(error, false)
    const more = advice(error)
    if (more !== undefined) say(more)
    return 1
  }
}

const given = options()
const [minutes, perSecond] = [Number(given?.minutes), Number(given?.rate)]
const faults = chosen(given?.scenario)
if (given?.help === true) data(usage)
else if (given === null || !(minutes > 0) || !(perSecond > 0) || faults === undefined) {
  say(usage)
  process.exitCode = 2
} else {
  // What a fault may have left open must not keep the process.
  const { seed, logs, json } = given
  process.exit(await run({ minutes, perSecond, seed, faults, ...(logs !== undefined && { logs }) }, json))
}
