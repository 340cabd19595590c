import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { z } from 'zod'
import { runShape, type SimulationRun } from './found.ts'

const caughtShape = z.object({ rule: z.string(), after: z.number() }).nullable()
export type Caught = z.infer<typeof caughtShape>

/** Runs schedules in a process of their own, so that all cores have some. Null when that was interrupted. */
export async function runSlice(first: number, count: number): Promise<SimulationRun | null> {
  const line = await lastLine('main.ts', ['--seed', String(first), '--seeds', String(count), '--jobs', '1', '--json'])
  return line === null ? null : runShape.parse(JSON.parse(line))
}

/** Plants a mutant and searches for it. Undefined when that was interrupted. */
export async function runMutant(name: string, seeds: number): Promise<Caught | undefined> {
  const line = await lastLine('run-mutant.ts', [name, String(seeds)])
  return line === null ? undefined : caughtShape.parse(JSON.parse(line))
}

/** Does `work` on all, at most `jobs` at a time, until `stopped`. */
export async function inParallel<T>(
  all: readonly T[],
  jobs: number,
  stopped: () => boolean,
  work: (one: T) => Promise<void>,
): Promise<void> {
  const left = [...all]
  const loop = async () => {
    for (let one = left.shift(); one !== undefined && !stopped(); one = left.shift()) await work(one)
  }
  await Promise.all(Array.from({ length: jobs }, loop))
}

async function lastLine(script: string, args: readonly string[]): Promise<string | null> {
  const child = spawn(process.execPath, [join(import.meta.dirname, script), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    child.once('close', (code, signal) => resolve({ code, signal }))
    child.once('error', reject)
  })
  const [output, complaints, { code, signal }] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  const line = output.trim().split('\n').at(-1) ?? ''
  if (signal === 'SIGINT' || code === 130) return null
  if (line === '') throw new Error(`${script} ${args.join(' ')} ended with ${code ?? signal}:\n${complaints}`)
  return line
}
