import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const profile = z.object({
  nodes: z.array(
    z.object({
      id: z.number(),
      callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.number() }),
    }),
  ),
  samples: z.array(z.number()),
  timeDeltas: z.array(z.number()),
})

/** Flags that make Node write a profile of each of its threads into a folder when it ends, and Bun one of its main thread. */
export function profileFlags(folder: string): readonly string[] {
  return ['--cpu-prof', '--cpu-prof-interval', '500', '--cpu-prof-dir', folder]
}

/** The functions in which each thread of a run spent most of its busy time, as lines of text. */
export function profileLines(folder: string, most: number): readonly string[] {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.cpuprofile'))
    .sort()
  return files.flatMap((name) => threadLines(join(folder, name), most))
}

function threadLines(file: string, most: number): readonly string[] {
  const { nodes, samples, timeDeltas } = profile.parse(JSON.parse(readFileSync(file, 'utf8')))
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
  const spent = new Map<string, number>()
  let [busy, whole] = [0, 0]
  samples.forEach((id, index) => {
    const micros = timeDeltas[index + 1] ?? 0
    const name = names.get(id) ?? '?'
    whole += micros
    if (name === '(idle)') return
    busy += micros
    spent.set(name, (spent.get(name) ?? 0) + micros)
  })
  const top = [...spent].sort(([, a], [, b]) => b - a).slice(0, most)
  const share = (micros: number) => `${((micros / busy) * 100).toFixed(1).padStart(5)} %`
  return [
    `${file}: busy ${(busy / 1e6).toFixed(2)} s of ${(whole / 1e6).toFixed(2)} s`,
    ...top.map(([name, micros]) => `${share(micros)} ${(micros / 1e6).toFixed(3).padStart(7)} s  ${name}`),
  ]
}

function nameOf({ functionName, url, lineNumber }: { functionName: string; url: string; lineNumber: number }): string {
  const name = functionName === '' ? '(anonymous)' : functionName
  const place = url.replace(/^.*\/(?=(node_modules|core|actors|supervisors|cli|bench)\/)/, '')
  return place === '' ? name : `${name}  ${place}:${lineNumber + 1}`
}
