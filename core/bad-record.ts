import { TenantryError } from './errors.ts'

/**
 * A record that can never be processed, whoever tries and however often: it becomes a dead letter at once. `reason` is
 * one of the stable words of docs/envelope.md. The message holds names, positions and limits, never the record's contents.
 */
export class BadRecord extends TenantryError {
  readonly reason: string

  constructor(reason: string, message: string, options?: ErrorOptions) {
    super('TENANTRY_BAD_RECORD', message, { reason }, options)
    this.name = 'BadRecord'
    this.reason = reason
  }
}
