import { Console } from 'node:console'
import type { Log } from '../core/log.ts'

/** Characters taken of what is printed at once. */
const maxText = 8_192

/**
 * What actors print becomes lines of log: standard output carries those and nothing else, and a flood of them has the same
 * bound. Bun's own console writes past `process.stdout`, so the console is replaced, too.
 */
export function catchOutput(log: Log): void {
  process.stdout.write = writer((text) => log.info('actor.output', { stream: 'stdout', text }, 'An actor printed.'))
  process.stderr.write = writer((text) => log.warn('actor.output', { stream: 'stderr', text }, 'An actor printed.'))
  globalThis.console = new Console(process.stdout, process.stderr)
}

function writer(line: (text: string) => void) {
  return (chunk: unknown, encoding?: unknown, callback?: unknown): boolean => {
    line(textOf(chunk).slice(0, maxText).trimEnd())
    const done = typeof encoding === 'function' ? encoding : callback
    if (typeof done === 'function') process.nextTick(done)
    return true
  }
}

function textOf(chunk: unknown): string {
  return chunk instanceof Uint8Array
    ? Buffer.from(chunk.buffer, chunk.byteOffset, Math.min(chunk.length, maxText)).toString()
    : String(chunk)
}
