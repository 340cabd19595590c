import { Command } from 'commander'
import { TenantryError } from '../core/errors.ts'
import type { Migration } from '../core/postgres/migrate.ts'
import { exitCode } from './exit.ts'
import { counted, data, json, say, table } from './output.ts'
import { explained } from './postgres-errors.ts'
import { settingsOf, wantsJson } from './settings.ts'

/** `tenantry migrate up|status|print`. */
export function migrateCommand(): Command {
  const migrate = new Command('migrate').description("the database's schema, as numbered SQL, forward only")

  migrate
    .command('up')
    .description('apply what is missing, under a lock; harmless when repeated')
    .option('--json', 'print one JSON array of what was applied')
    .action(async (_flags, command: Command) => {
      const { migrateUp } = await import('../core/postgres/migrate.ts')
      const applied = await explained(migrateUp(urlOf(command)), failed)
      if (wantsJson(command)) json(applied.map(({ number, name }) => ({ number, name })))
      else if (applied.length > 0) data(table(applied.map(({ number, name }) => [fourDigits(number), name])))
      say(applied.length === 0 ? 'The schema is up to date.' : `${counted(applied.length, 'migration')} applied.`)
    })

  migrate
    .command('status')
    .description('say what is applied; exits with 7 when something is missing or differs, or is of a newer tenantry')
    .option('--json', 'print one JSON array')
    .action(async (_flags, command: Command) => {
      const { migrateStatus } = await import('../core/postgres/migrate.ts')
      const status = await explained(migrateStatus(urlOf(command)))
      const state = ({ appliedAt, changed, newer }: (typeof status)[number]) =>
        newer ? 'newer' : changed ? 'changed' : appliedAt === undefined ? 'missing' : 'applied'
      if (wantsJson(command))
        json(status.map((one) => ({ ...one, appliedAt: one.appliedAt ?? null, state: state(one) })))
      else data(table(status.map((one) => [fourDigits(one.number), one.name, state(one), one.appliedAt ?? ''])))
      if (status.some((one) => state(one) !== 'applied')) process.exitCode = exitCode('conflict')
    })

  migrate
    .command('print')
    .description('print the SQL, for those who apply it by hand; it records itself as `migrate up` does')
    .option('--after <number>', 'only migrations after this one', '0')
    .action(async ({ after }: { readonly after: string }) => {
      if (!/^\d{1,4}$/.test(after))
        throw new TenantryError('TENANTRY_USAGE', '--after wants the number of a migration, such as --after 3.')
      const { migrations } = await import('../core/postgres/migrate.ts')
      const wanted = (await migrations()).filter(({ number }) => number > Number(after))
      data([...(after === '0' ? [register] : []), ...wanted.map(byHand)].join('\n'))
    })

  return migrate
}

const register = `create schema if not exists sys;
create table if not exists sys.migrations (
  number integer primary key, name text not null, checksum text not null, applied_at timestamptz not null default clock_timestamp()
);
`

/** Names are words and checksums are hexadecimal: nothing to escape. */
function byHand({ number, name, sql, checksum }: Migration): string {
  const entry = `insert into sys.migrations (number, name, checksum) values (${number}, '${name}', '${checksum}');`
  return `-- ${fourDigits(number)} ${name}\nbegin;\n${sql.trimEnd()}\n${entry}\ncommit;\n`
}

function urlOf(command: Command): string {
  const { url, migrateUrl } = settingsOf(command, ['postgres']).config.postgres
  return migrateUrl ?? url
}

function failed(reason: string, cause: unknown): TenantryError {
  return new TenantryError(
    'TENANTRY_MIGRATION_FAILED',
    `The migration failed, and nothing of it was kept: ${reason}. Repair the cause and run it again.`,
    {},
    { cause },
  )
}

function fourDigits(number: number): string {
  return String(number).padStart(4, '0')
}
