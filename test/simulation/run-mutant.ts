import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { mutants } from './mutants.ts'

// node run-mutant.ts NAME SEEDS [--seed S] [--shrink | --reduce TEXT]: plants one mutant and prints, as JSON, the first
// violation and its seed; with --shrink also what is left of that schedule. Null when nothing was found.
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string' }, shrink: { type: 'boolean', default: false }, reduce: { type: 'string' } },
})
const [name = '', seeds = '0'] = positionals
const mutant = mutants.find((one) => one.name === name)
if (mutant === undefined) throw new Error(`there is no mutant "${name}"`)

const sources = new Map<string, string>()
for (const { file, from, to } of mutant.edits) {
  const path = resolve(import.meta.dirname, '../..', file)
  const url = pathToFileURL(path).href
  const parts = (sources.get(url) ?? readFileSync(path, 'utf8')).split(from)
  if (parts.length !== 2) throw new Error(`"${from}" stands ${parts.length - 1} times in ${file}`)
  sources.set(url, parts.join(to))
}
registerHooks({
  load(url, context, nextLoad) {
    const source = sources.get(url)
    return source === undefined ? nextLoad(url, context) : { format: 'module-typescript', source, shortCircuit: true }
  },
})

const { simulate } = await import('./simulate.ts')
const { scheduleOf } = await import('./schedule.ts')
const { parsed, reduced, written } = await import('./reduction.ts')
const { shrink } = await import('./shrink.ts')

type Caught = { readonly rule: string; readonly after: number; readonly reduction?: string }

async function search(): Promise<Caught | null> {
  const first = values.seed === undefined ? (mutant?.from ?? 1) : Number(values.seed)
  const last = values.seed === undefined ? first + Number(seeds) - 1 : first
  for (let seed = first; seed <= last; seed++) {
    const whole = scheduleOf(String(seed))
    const left = values.reduce === undefined ? null : parsed(values.reduce, whole)
    const schedule = left === null ? whole : reduced(whole, left)
    const { violation } = await simulate(schedule)
    if (violation === null) continue
    if (!values.shrink) return { rule: violation.rule, after: seed }
    const shrunk = await shrink(schedule, async (smaller) => {
      const run = await simulate(smaller)
      return run.violation?.rule === violation.rule
    })
    return { rule: violation.rule, after: seed, reduction: written(shrunk.reduction) }
  }
  return null
}

process.stdout.write(`${JSON.stringify(await search())}\n`)
process.exit(0)
