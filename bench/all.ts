import { TenantryError } from '../core/errors.ts'
import type { Journal } from './journal.ts'
import type { Step } from './plan.ts'

export type AllOptions = {
  readonly steps: readonly Step[]
  readonly journal: Journal
  /** Runs a step and returns what `--json` gave of it, also when something went wrong in its runs. */
  run(step: Step): Promise<string>
  /** Called when the journal has one more. */
  added(): void
  say(text: string): void
}

/**
 * Runs the steps that the journal does not have. One that fails keeps the others from nothing, and is tried again by
 * the next call. Throws TENANTRY_BENCH_UNFINISHED when there were such.
 */
export async function runSteps({ steps, journal, run, added, say }: AllOptions): Promise<void> {
  const failed: string[] = []
  for (const [index, step] of steps.entries()) {
    if (journal.has(step)) continue
    const name = `${step.args.join(' ')} (round ${step.round})`
    say(`[${index + 1}/${steps.length}] ${name}`)
    const from = Date.now()
    try {
      journal.add(step, await run(step))
      added()
      say(`It took ${Math.round((Date.now() - from) / 1_000)} s.`)
    } catch (error) {
      failed.push(name)
      say(`It failed: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  if (failed.length > 0)
    throw new TenantryError(
      'TENANTRY_BENCH_UNFINISHED',
      `${failed.length} of ${steps.length} steps failed; the same call tries them again: ${failed.join('; ')}.`,
      { failed },
    )
}
