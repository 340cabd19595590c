import { inspect } from 'node:util'
import { type Assignment, assignment, assignmentVariable } from '../peer.ts'

const everyMs = 100

/** What this process was started for. */
export function ownAssignment(): Assignment {
  return assignment.parse(JSON.parse(process.env[assignmentVariable] ?? ''))
}

/** Tells the bench on standard output how far this process is. */
export class Progress {
  #done = 0
  #told = 0
  #ready = false
  readonly #timer = setInterval(() => this.#tell(), everyMs)

  /** It has its first partition. */
  ready(): void {
    if (this.#ready) return
    this.#ready = true
    write({ ready: Date.now() })
  }

  /** So many more records are finished. */
  finished(records: number): void {
    this.#done += records
  }

  /** Says the last word. */
  end(): void {
    clearInterval(this.#timer)
    this.#tell()
  }

  #tell(): void {
    if (this.#done === this.#told) return
    this.#told = this.#done
    write({ done: this.#done, at: Date.now() })
  }
}

function write(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

/** Runs `stop` once when told to end, and ends; with exit code 1 on the first error anywhere. */
export function endWith(stop: () => Promise<void>): void {
  let stopping = false
  process.on('SIGTERM', () => {
    if (stopping) return
    stopping = true
    stop().then(() => process.exit(0), fail)
  })
  process.on('unhandledRejection', fail)
}

/** A record that fails is neither skipped nor committed past: the process ends. */
export function fail(error: unknown): never {
  process.stderr.write(`${inspect(error)}\n`)
  process.exit(1)
}
