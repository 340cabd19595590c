import { visible } from '../output.ts'
import type { Kind } from './statistics.ts'

export const kindHead = ['GROUP', 'TOPIC', 'REASON', 'ERROR', 'DEAD LETTERS', 'TENANTS', 'FIRST', 'LAST']

export function kindRow(kind: Kind): string[] {
  const { group, topic, reason, errorClass, deadLetters, tenants, firstFailedAt, lastFailedAt } = kind
  const counts = [String(deadLetters), String(tenants)]
  return [...[group, topic, reason, errorClass].map((text) => cell(text, 48)), ...counts, firstFailedAt, lastFailedAt]
}

/** A text of a table: short, and nothing that a terminal obeys. */
export function cell(text: string, most: number): string {
  const shown = visible(text)
  return shown === '' ? '-' : shown.length > most ? `${shown.slice(0, most - 1)}…` : shown
}

export function count(deadLetters: number): string {
  return deadLetters === 1 ? '1 dead letter' : `${deadLetters} dead letters`
}
