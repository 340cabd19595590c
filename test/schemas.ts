import type { StandardSchemaV1 } from '@standard-schema/spec'

/** A schema that every value passes. */
export const anything: StandardSchemaV1<unknown, unknown> = {
  '~standard': { version: 1, vendor: 'tenantry-test', validate: (value) => ({ value }) },
}

/** A schema that takes its time: it answers with a promise. */
export const slowly: StandardSchemaV1<unknown, unknown> = {
  '~standard': { version: 1, vendor: 'tenantry-test', validate: async (value) => ({ value }) },
}
