import { BadRecord } from '../core/bad-record.ts'
import type { Envelope } from '../core/envelope.ts'
import type { Actor, Schema } from './define-actor.ts'

/** What a schema says of a payload. */
export type Validation = Awaited<ReturnType<Schema['~standard']['validate']>>

/** An actor with its message types laid out for looking up. */
export class LoadedActor {
  readonly actor: Actor
  /** What it calls happens outside of every commit: for a copy its handler must not run. */
  readonly calls: boolean
  readonly #schemas = new Map<string, Map<number, Schema>>()

  constructor(actor: Actor) {
    this.actor = actor
    this.calls = actor.idempotency === 'message-id' && Object.keys(actor.dependencies).length > 0
    for (const [key, schema] of Object.entries(actor.messages)) {
      const at = /@(\d+)$/.exec(key)
      const type = at === null ? key : key.slice(0, at.index)
      const versions = this.#schemas.get(type) ?? new Map<number, Schema>()
      versions.set(at === null ? 1 : Number(at[1]), schema)
      this.#schemas.set(type, versions)
    }
  }

  /** Throws BadRecord `unknown_type` or `unknown_version`. */
  schemaOf(envelope: Envelope): Schema {
    const versions = this.#schemas.get(envelope.type)
    if (versions === undefined)
      throw new BadRecord('unknown_type', `the actor of ${this.actor.topic} knows no such type`)
    const schema = versions.get(envelope.schema_version)
    if (schema === undefined)
      throw new BadRecord(
        'unknown_version',
        `the actor knows the type in schema_version ${[...versions.keys()].join(', ')} only`,
      )
    return schema
  }
}

/** Says where the payload breaks its schema, and never with which value: validators quote those in their messages. */
export function schemaFailure(issues: NonNullable<Validation['issues']>): BadRecord {
  const paths = issues.slice(0, 10).map((issue) => {
    const path = issue.path?.map((part) => String(typeof part === 'object' ? part.key : part)).join('.')
    return path === undefined || path === '' ? 'the payload itself' : `payload.${path}`
  })
  return new BadRecord('schema', `the payload does not pass its schema at ${[...new Set(paths)].join(', ')}`)
}
