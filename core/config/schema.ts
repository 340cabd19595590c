import { z } from 'zod'
import { breaker } from './breaker-section.ts'
import {
  actors,
  backpressure,
  commit,
  http,
  limits,
  log,
  parking,
  postgres,
  redis,
  retention,
  retry,
  traceability,
  workers,
} from './engine-sections.ts'
import { consumer, deadLetters, groups, kafka, producer, topics } from './kafka-sections.ts'

/**
 * The whole configuration, once: types, defaults, bounds and documentation. What is written uses units (`drainDeadline:
 * 30s`, `budgetBytes: 128MiB`); what the program reads are numbers whose names say the unit (`drainDeadlineMs`,
 * `budgetBytes`).
 */
export const schema = z.strictObject({
  kafka,
  producer,
  consumer,
  topics,
  deadLetters,
  groups,
  postgres,
  redis,
  actors,
  workers,
  commit,
  retry,
  breaker,
  backpressure,
  parking,
  retention,
  traceability,
  limits,
  http,
  log,
})

type Parsed = z.output<typeof schema>

/** The configuration as the program reads it: durations in milliseconds, sizes in bytes, `auto` resolved, paths absolute. */
export type Config = Omit<Parsed, 'workers' | 'commit' | 'backpressure'> & {
  readonly workers: Omit<Parsed['workers'], 'count' | 'maxResidentBytes'> & {
    readonly count: number
    readonly maxResidentBytes: number
  }
  readonly commit: Omit<Parsed['commit'], 'lanes'> & { readonly lanes: number }
  readonly backpressure: Omit<Parsed['backpressure'], 'budgetRecords' | 'mailboxRecords'> & {
    readonly budgetRecords: number
    readonly mailboxRecords: number
  }
}

export type GroupConfig = Config['groups'][string]
