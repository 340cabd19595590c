import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Runtime } from '../../tools/run/runtime.ts'
import { checkout } from './runtimes.ts'

/** A test file, and what its first lines say about it. */
export interface TestFile {
  /** Relative to the checkout: `test/unit/fifo.test.ts`. */
  readonly path: string
  /** The folder below test/: `unit`, `integration` … */
  readonly kind: string
  readonly runtimes: readonly Runtime[]
  /** How long the whole file may take, in milliseconds. */
  readonly timeoutMs: number
}

/** Cheap ones first, so that a plain mistake is seen early. */
const ORDER = ['unit', 'simulation', 'integration']
/** Kinds that need no servers. */
const ALONE = ['unit', 'simulation']

/** All test files whose path contains one of `filters` (all, when there are none), in the order in which they run. */
export function findTestFiles(filters: readonly string[]): TestFile[] {
  const paths = globSync('test/**/*.test.ts', { cwd: checkout }).sort()
  const chosen = filters.length === 0 ? paths : paths.filter((path) => filters.some((filter) => path.includes(filter)))
  const rank = (kind: string) => (ORDER.includes(kind) ? ORDER.indexOf(kind) : ORDER.length)
  return chosen.map(describe).sort((a, b) => rank(a.kind) - rank(b.kind) || a.path.localeCompare(b.path))
}

/** Whether any of these files needs Kafka, PostgreSQL and Redis. */
export function needServices(files: readonly TestFile[]): boolean {
  return files.some((file) => !ALONE.includes(file.kind))
}

/**
 * Reads the head of a file: `// runtimes: node, bun` (left out: both for unit tests, else Node) and
 * `// timeout: 1200 s` for the file (left out: 120 s for unit tests, else 600 s).
 */
function describe(path: string): TestFile {
  const head = readFileSync(join(checkout, path), 'utf8').split('\n', 10).join('\n')
  const kind = path.split('/')[1] ?? ''
  const runtimes = /^\/\/ runtimes: (.*)$/m.exec(head)?.[1]
  const seconds = /^\/\/ timeout: (\d+) s$/m.exec(head)?.[1]
  return {
    path,
    kind,
    runtimes:
      runtimes === undefined
        ? kind === 'unit'
          ? ['node', 'bun']
          : ['node']
        : runtimes.split(',').map((name) => runtimeOf(name.trim(), path)),
    timeoutMs: 1000 * (seconds === undefined ? (kind === 'unit' ? 120 : 600) : Number(seconds)),
  }
}

function runtimeOf(name: string, path: string): Runtime {
  if (name === 'node' || name === 'bun') return name
  throw new Error(`${path}: "// runtimes:" names "${name}"; there are node and bun`)
}
