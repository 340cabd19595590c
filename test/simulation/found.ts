import { z } from 'zod'

/** A schedule that violated a guarantee. `reduction`: what is left of it when it was shrunk. */
const violationShape = z.object({
  seed: z.string(),
  rule: z.string(),
  detail: z.string(),
  reduction: z.string().optional(),
})
export type FoundViolation = z.infer<typeof violationShape>

/** What a run of schedules came to: the last line of `npm run simulate -- --json`, and what processes tell each other. */
export const runShape = z.object({
  schedules: z.number(),
  failures: z.number(),
  events: z.number(),
  cpu_seconds: z.number(),
  violations: z.array(violationShape),
  /** How often each rare path was taken. */
  reached: z.record(z.string(), z.number()),
})
export type SimulationRun = z.infer<typeof runShape>

export const nothingRun: SimulationRun = {
  schedules: 0,
  failures: 0,
  events: 0,
  cpu_seconds: 0,
  violations: [],
  reached: {},
}

export function added(a: SimulationRun, b: SimulationRun): SimulationRun {
  const reached = { ...a.reached }
  for (const [mark, count] of Object.entries(b.reached)) reached[mark] = (reached[mark] ?? 0) + count
  return {
    schedules: a.schedules + b.schedules,
    failures: a.failures + b.failures,
    events: a.events + b.events,
    cpu_seconds: a.cpu_seconds + b.cpu_seconds,
    violations: [...a.violations, ...b.violations],
    reached,
  }
}
