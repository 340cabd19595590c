import type { Facts } from './errors.ts'

/**
 * Log lines are events with fields: `log.warn('partition.fenced', { topic, partition }, 'one sentence')`.
 * No payloads and no secrets. The daemon's implementation writes JSON lines by pino; tests collect events in an array.
 */
export interface Log {
  debug(event: string, fields: Facts, sentence: string): void
  info(event: string, fields: Facts, sentence: string): void
  warn(event: string, fields: Facts, sentence: string): void
  error(event: string, fields: Facts, sentence: string): void
}

/** A log that goes nowhere, for tests and tools that do not care. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
