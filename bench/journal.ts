import { appendFileSync, existsSync, readFileSync, truncateSync } from 'node:fs'
import { z } from 'zod'
import { TenantryError } from '../core/errors.ts'
import type { Step } from './plan.ts'
import { type RawRun, runsOf } from './raw-run.ts'

const entry = z.object({
  step: z.object({ args: z.array(z.string()), round: z.number() }),
  runs: z.array(z.unknown()),
})

/** What has been run already: a file of a line a step, so that a call that was broken off goes on where it stopped. */
export class Journal {
  readonly #file: string
  readonly #runs = new Map<string, readonly RawRun[]>()

  /**
   * Reads what is there. A last line that was cut short goes; throws TENANTRY_BENCH_JOURNAL for anything else that is no
   * entry.
   */
  constructor(file: string) {
    this.#file = file
    if (!existsSync(file)) return
    const content = readFileSync(file)
    const whole = content.lastIndexOf('\n') + 1
    if (whole < content.length) truncateSync(file, whole)
    for (const line of content.subarray(0, whole).toString('utf8').split('\n')) if (line !== '') this.#read(line)
  }

  /** What came of these steps, as far as they have been made. */
  runsOf(steps: readonly Step[]): readonly RawRun[] {
    return steps.flatMap((step) => this.#runs.get(nameOf(step)) ?? [])
  }

  has(step: Step): boolean {
    return this.#runs.has(nameOf(step))
  }

  /** Adds a step with the runs that came of it, as `--json` has given them. */
  add(step: Step, runs: string): void {
    this.#runs.set(nameOf(step), runsOf(runs))
    appendFileSync(this.#file, `{"step":${nameOf(step)},"runs":${runs}}\n`)
  }

  #read(line: string): void {
    try {
      const { step, runs } = entry.parse(JSON.parse(line))
      this.#runs.set(nameOf(step), runsOf(JSON.stringify(runs)))
    } catch (error) {
      throw new TenantryError(
        'TENANTRY_BENCH_JOURNAL',
        `${this.#file} has a line that no run of all has written: move the file away, or give another --out.`,
        { file: this.#file },
        { cause: error },
      )
    }
  }
}

function nameOf({ args, round }: Step): string {
  return JSON.stringify({ args, round })
}
