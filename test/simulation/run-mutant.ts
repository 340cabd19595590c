import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { mutants } from './mutants.ts'

// node run-mutant.ts NAME SEEDS: plants one mutant and prints, as JSON, the first violation and after how many seeds.
const [name = '', seeds = '0'] = process.argv.slice(2)
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

let caught: { readonly rule: string; readonly after: number } | null = null
const first = mutant.from ?? 1
for (let seed = first; seed < first + Number(seeds) && caught === null; seed++) {
  const { violation } = await simulate(scheduleOf(String(seed)))
  if (violation) caught = { rule: violation.rule, after: seed }
}
process.stdout.write(`${JSON.stringify(caught)}\n`)
process.exit(0)
