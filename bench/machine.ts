import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { checkout } from '../cli/dev/programs.ts'
import { version } from '../cli/version.ts'
import { requireProgram } from '../tools/run/runtime.ts'
import type { Configuration } from './configuration.ts'

export type Machine = {
  readonly processor: string
  readonly cores: number
  readonly memory_bytes: number
  readonly kernel: string
  /** Processes that wanted a core, over the minute before the run. */
  readonly load: number
}

export type Versions = Readonly<Record<string, string>>

export function machine(): Machine {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memory_bytes: totalmem(),
    kernel: release(),
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  }
}

/** Of everything that a figure may depend on. */
export function versions({ runtime, driver, checkout: from }: Configuration, postgres: string): Versions {
  const driverPackage = driver === 'confluent' ? '@confluentinc/kafka-javascript' : '@platformatic/kafka'
  return {
    tenantry: version(),
    commit: commitOf(from),
    [runtime]: execFileSync(requireProgram(runtime), ['--version'], { encoding: 'utf8' }).trim().replace(/^v/, ''),
    [driverPackage]: packageVersion(driverPackage),
    postgres: postgres.split(' ')[0] ?? postgres,
    kafka: kafkaVersion(),
  }
}

function commitOf(folder: string): string {
  try {
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', folder, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    const dirty =
      git('status', '--porcelain', '--untracked-files=no', 'core', 'actors', 'supervisors', 'migrations') === ''
        ? ''
        : '+'
    return `${git('rev-parse', '--short', 'HEAD')}${dirty}`
  } catch {
    return ''
  }
}

/** Of a package that is installed here; empty when it is not. */
export function packageVersion(name: string): string {
  try {
    const text = readFileSync(join(checkout, 'node_modules', name, 'package.json'), 'utf8')
    return z.object({ version: z.string() }).parse(JSON.parse(text)).version
  } catch {
    return ''
  }
}

/** Of the brokers of the checkout. */
export function kafkaVersion(): string {
  const tools = join(checkout, '.tools')
  const folder = existsSync(tools) ? readdirSync(tools).find((name) => /^kafka-\d[\d.]*$/.test(name)) : undefined
  return folder?.replace('kafka-', '') ?? ''
}
