import { CommanderError } from 'commander'
import { TenantryError } from '../core/errors.ts'

/** Exit codes are part of the public surface: scripts rely on them. `tenantry help` and docs/cli.md print this table. */
export const exitCodes = [
  { code: 0, name: 'ok', meaning: 'done; also a daemon that SIGTERM has drained' },
  { code: 1, name: 'failed', meaning: 'it was tried and did not work, or what was checked is not so' },
  { code: 2, name: 'usage', meaning: 'the command line is wrong' },
  { code: 3, name: 'config', meaning: 'the configuration is wrong' },
  { code: 4, name: 'unreachable', meaning: 'Kafka or PostgreSQL cannot be reached' },
  { code: 5, name: 'not-authorised', meaning: 'Kafka or PostgreSQL refuses this login, or this act to it' },
  { code: 6, name: 'partial', meaning: 'some of it was done; or the drain deadline passed with records still running' },
  { code: 7, name: 'conflict', meaning: 'something else must happen first: a schema too old, a port taken' },
  { code: 8, name: 'workers', meaning: 'worker threads ended again and again; what could be was drained' },
  { code: 70, name: 'bug', meaning: 'an error inside tenantry: please report it' },
  { code: 129, name: 'hung-up', meaning: 'ended by SIGHUP, as its terminal has gone, before it was done' },
  { code: 130, name: 'interrupted', meaning: 'ended by Ctrl-C (SIGINT) before it was done' },
  { code: 143, name: 'terminated', meaning: 'ended by SIGTERM before it was done' },
] as const

export type ExitName = (typeof exitCodes)[number]['name']

/** The number of an exit code. */
export function exitCode(name: ExitName): number {
  return exitCodes.find((entry) => entry.name === name)?.code ?? 70
}

const byCode: Readonly<Record<string, ExitName>> = {
  TENANTRY_USAGE: 'usage',
  TENANTRY_CONFIG_INVALID: 'config',
  TENANTRY_CONFIG_UNKNOWN_KEY: 'usage',
  TENANTRY_DLQ_PARTLY: 'partial',
  TENANTRY_BREAKER_GROUP: 'usage',
  TENANTRY_BREAKER_NAME: 'usage',
  TENANTRY_OFFSETS_PLACE: 'usage',
  TENANTRY_OFFSETS_RANGE: 'usage',
  TENANTRY_OFFSETS_WAY: 'usage',
  TENANTRY_OFFSETS_RECREATED: 'conflict',
  TENANTRY_OFFSETS_NOT_SET: 'conflict',
  TENANTRY_VERIFY_GROUP: 'usage',
  TENANTRY_VERIFY_PLACE: 'usage',
  TENANTRY_VERIFY_UNREADABLE: 'unreachable',
  TENANTRY_KAFKA_OPTION_REFUSED: 'config',
  TENANTRY_GROUP_UNKNOWN: 'config',
  TENANTRY_TOPIC_WITHOUT_ACTOR: 'config',
  TENANTRY_TIMEOUT_ORDER: 'config',
  TENANTRY_START_MISSING: 'config',
  TENANTRY_TOPIC_INVALID: 'config',
  TENANTRY_TOPIC_TWICE: 'config',
  TENANTRY_KAFKA_UNAVAILABLE: 'unreachable',
  TENANTRY_KAFKA_STALLED: 'unreachable',
  TENANTRY_KAFKA_OTHER_TOPIC: 'unreachable',
  TENANTRY_POSTGRES_UNAVAILABLE: 'unreachable',
  TENANTRY_POSTGRES_TIMEOUT: 'unreachable',
  TENANTRY_POSTGRES_SILENT: 'unreachable',
  TENANTRY_POSTGRES_ADDRESS: 'config',
  TENANTRY_POSTGRES_POOLED: 'config',
  TENANTRY_POSTGRES_VERSION: 'conflict',
  TENANTRY_POSTGRES_REFUSED: 'not-authorised',
  TENANTRY_RUNTIME_VERSION: 'conflict',
  TENANTRY_DATABASE_MISSING: 'conflict',
  TENANTRY_SERVER_UNREACHABLE: 'unreachable',
  TENANTRY_SERVER_REFUSED: 'not-authorised',
  TENANTRY_LANE_CLOSED: 'unreachable',
  TENANTRY_TOPIC_MISSING: 'conflict',
  TENANTRY_DRIVER_UNAVAILABLE: 'conflict',
  TENANTRY_DATABASE_ENCODING: 'conflict',
  TENANTRY_KAFKA_PROTOCOL: 'conflict',
  TENANTRY_SCHEMA_OLD: 'conflict',
  TENANTRY_SCHEMA_NEWER: 'conflict',
  TENANTRY_SCHEMA_CHANGED: 'conflict',
  TENANTRY_OTHER_CLUSTER: 'conflict',
  TENANTRY_INSTANCE_FENCED: 'conflict',
  TENANTRY_HTTP_PORT_TAKEN: 'conflict',
  TENANTRY_HTTP_CANNOT_LISTEN: 'conflict',
  TENANTRY_WORKERS_FAIL: 'workers',
}

const refusals = /AUTHORIZATION_FAILED|AUTHENTICATION_FAILED|SASL_AUTH|^28...$|^42501$/
const away =
  /^(ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EPIPE|CONNECT_TIMEOUT|CONNECTION_CLOSED|CONNECTION_ENDED|CONNECTION_DESTROYED|08...|57P0[123]|53300)$/

/** Which exit code an error means. Whatever was not raised on purpose is a bug of ours. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCode('usage')
  const causes = [...chain(error)]
  if (causes.some((cause) => refusals.test(codeOf(cause)))) return exitCode('not-authorised')
  if (error instanceof TenantryError) {
    const name = byCode[error.code]
    if (name !== undefined) return exitCode(name)
  }
  if (causes.some((cause) => away.test(codeOf(cause)))) return exitCode('unreachable')
  return exitCode(error instanceof TenantryError ? 'failed' : 'bug')
}

/** The error and what caused it: drivers wrap errors in errors. */
function* chain(error: unknown, depth = 0): Generator<object> {
  if (typeof error !== 'object' || error === null || depth > 5) return
  yield error
  if ('cause' in error) yield* chain(error.cause, depth + 1)
  if ('errors' in error && Array.isArray(error.errors)) for (const one of error.errors) yield* chain(one, depth + 1)
}

/** An error's code as its maker calls it: Node and postgres.js `code`, Kafka's protocol `apiId`. */
function codeOf(error: object): string {
  if ('apiId' in error && typeof error.apiId === 'string') return error.apiId
  return 'code' in error && typeof error.code === 'string' ? error.code : ''
}
