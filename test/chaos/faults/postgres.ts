import { readFileSync } from 'node:fs'
import { kill } from 'node:process'
import postgres from 'postgres'
import { messageOf } from '../../../core/errors.ts'
import { eventually } from '../../services.ts'
import { type Fault, type Ground, last, lastBetween, seconds } from '../fault.ts'
import { SmallDisk } from '../small-disk.ts'

/** What happens to PostgreSQL and in it. */
export const postgresFaults: readonly Fault[] = [
  {
    name: 'backends-ended',
    area: 'postgres',
    about: "pg_terminate_backend of the daemons' connections, one by one at random, and of all at the end",
    weight: 2,
    async strike(ground) {
      const rounds = ground.random.between(5, 20)
      let ended = 0
      for (let i = 0; i < rounds; i++) {
        ended += await endBackends(ground, 1)
        await lastBetween(ground, 20, 300)
      }
      ended += await endBackends(ground, 1_000)
      return `${ended} connections`
    },
  },
  {
    name: 'postgres-restarted',
    area: 'postgres',
    about: 'immediate shutdown of PostgreSQL, as a crash, and a start after up to 8 s',
    weight: 2,
    stopsAll: true,
    async strike(ground) {
      await ground.site.services.postgres.kill('SIGQUIT')
      const ms = await lastBetween(ground, 0, 8_000)
      await ground.site.services.postgres.start()
      return `away for ${seconds(ms)}`
    },
  },
  {
    name: 'postgres-frozen',
    area: 'postgres',
    about: 'SIGSTOP of PostgreSQL with all its backends: connections stay open and nothing answers',
    weight: 2,
    stopsAll: true,
    async strike(ground) {
      ground.site.services.postgres.pause()
      const ms = await lastBetween(ground, 1_000, 15_000)
      ground.site.services.postgres.resume()
      return `for ${seconds(ms)}`
    },
  },
  {
    name: 'postmaster-frozen',
    area: 'postgres',
    about: 'SIGSTOP of the postmaster alone, and the end of all connections: a new one is accepted and never answered',
    stopsAll: true,
    async strike(ground) {
      const pid = ground.site.services.postgres.pid()
      if (pid === undefined) return 'it does not run'
      await ground.sql`select 1` // connected: nobody can be any more, once it is frozen
      kill(pid, 'SIGSTOP')
      try {
        const ended = await endBackends(ground, 1_000)
        const ms = await lastBetween(ground, 1_000, 10_000)
        return `for ${seconds(ms)}, after ${ended} connections`
      } finally {
        kill(pid, 'SIGCONT')
      }
    },
  },
  {
    name: 'backend-frozen',
    area: 'postgres',
    about: 'SIGSTOP of one backend of a lane past the answer’s deadline: it can neither answer nor end',
    weight: 2,
    async strike(ground) {
      const [lane] = await ground.sql<{ pid: number }[]>`
        select pid from pg_stat_activity
        where datname = ${database(ground)} and application_name like '%lane%'
        order by random() limit 1`
      if (lane === undefined) return 'there is no lane'
      kill(lane.pid, 'SIGSTOP')
      const ms = await lastBetween(ground, 1_000, 10_000)
      kill(lane.pid, 'SIGCONT')
      return `for ${seconds(ms)}`
    },
  },
  {
    name: 'read-only',
    area: 'postgres',
    about: 'default_transaction_read_only for the whole server, and the end of all connections',
    async strike(ground) {
      await ground.sql`alter system set default_transaction_read_only = on`
      await ground.sql`select pg_reload_conf()`
      await endBackends(ground, 1_000)
      const ms = await lastBetween(ground, 1_000, 8_000)
      await ground.sql`set default_transaction_read_only = off`
      await ground.sql`alter system reset default_transaction_read_only`
      await ground.sql`select pg_reload_conf()`
      await ground.sql`reset default_transaction_read_only`
      return `for ${seconds(ms)}`
    },
  },
  {
    name: 'disk-full',
    area: 'postgres',
    about: "no room on the disk of an index of the actors' table, or of the progress's: PostgreSQL itself says 53100",
    weight: 2,
    stopsAll: true,
    async strike(ground) {
      const pid = ground.site.services.postgres.pid()
      if (pid === undefined) return 'it does not run'
      const disk = await SmallDisk.open(pid)
      try {
        const table = ground.random.pick(['effects', 'progress'] as const)
        const ms = await onFullDisk(ground, disk, table)
        return `under ${table} for ${seconds(ms)}`
      } finally {
        await disk.close()
      }
    },
  },
  {
    name: 'connections-used-up',
    area: 'postgres',
    about: 'max_connections used up by others, and the end of all connections of the daemons',
    stopsAll: true,
    async strike(ground) {
      const hoard = await hoardConnections(ground)
      const ms = await lastBetween(ground, 1_000, 8_000)
      await Promise.all(hoard.map((one) => one.end({ timeout: 1 })))
      return `${hoard.length} others for ${seconds(ms)}`
    },
  },
  {
    name: 'table-locked',
    area: 'postgres',
    about: "an ACCESS EXCLUSIVE lock on the actors' table, as a migration takes it, for up to 8 s",
    async strike(ground) {
      const ms = await holding(ground, 8_000, (sql) => sql`lock table effects in access exclusive mode`)
      return `for ${seconds(ms)}`
    },
  },
  {
    name: 'table-away',
    area: 'postgres',
    about: "the actors' table renamed for up to 6 s: everybody's effects fail, and nobody is to blame",
    async strike(ground) {
      const sql = postgres(ground.stage.database, { max: 1, onnotice() {} })
      try {
        await sql`alter table effects rename to effects_away`
        const ms = await lastBetween(ground, 1_000, 6_000)
        await sql`alter table effects_away rename to effects`
        return `for ${seconds(ms)}`
      } finally {
        await sql.end({ timeout: 1 })
      }
    },
  },
  {
    name: 'old-snapshot',
    area: 'postgres',
    about: 'a snapshot held open for 10 to 20 s, while the load goes on',
    async strike(ground) {
      const ms = await holding(ground, 20_000, (sql) => sql`select count(*) from sys.partition_progress`, 10_000)
      return `for ${seconds(ms)}`
    },
  },
]

function database(ground: Ground): string {
  return new URL(ground.stage.database).pathname.slice(1)
}

/** Ends up to `most` of the daemons' connections, through `sql`. */
async function endBackends(ground: Ground, most: number, sql = ground.sql): Promise<number> {
  try {
    const rows = await sql`
      select pg_terminate_backend(pid) from (
        select pid from pg_stat_activity
        where datname = ${database(ground)} and application_name like 'tenantry%'
        order by random() limit ${most}) as victim`
    return rows.length
  } catch {
    return 0 // a fault of another area took this very connection
  }
}

/** Connects until the server takes nobody any more and no daemon is among those it took. */
async function hoardConnections(ground: Ground): Promise<postgres.Sql[]> {
  const hoard: postgres.Sql[] = []
  for (let refusedAlone = 0; refusedAlone < 20 && !ground.signal.aborted; ) {
    const sql = postgres(ground.site.services.postgresUrl, { max: 1, idle_timeout: 0, onnotice() {} })
    try {
      await sql`select 1`
      hoard.push(sql)
      refusedAlone = 0
    } catch (error) {
      await sql.end({ timeout: 1 })
      if (!/too many clients|53300|reserved/.test(messageOf(error))) throw error
      // What is freed is asked for at once: the daemons wait between their attempts. One of the hoard's own
      // ends them, for nobody else gets a connection now.
      if ((await endBackends(ground, 1_000, hoard[0])) > 0) refusedAlone = 0
      else {
        refusedAlone++
        await last(ground, 20)
      }
    }
  }
  return hoard
}

/** An index whose pages are full goes on the disk, so that the next rows want a page that there is no room for. */
async function onFullDisk(ground: Ground, disk: SmallDisk, table: 'effects' | 'progress'): Promise<number> {
  const sql = postgres(ground.stage.database, { max: 1, onnotice() {} })
  try {
    await sql`create tablespace chaos location ${sql.unsafe(`'${disk.folder}'`)}`
    await sql`select set_config('lock_timeout', '10s', false)`
    if (table === 'effects')
      await sql`create index chaos_full on effects (hashtext(message_id)) with (fillfactor = 100) tablespace chaos`
    else
      await sql`
        create index chaos_full on sys.partition_progress (commit_id) with (fillfactor = 100) tablespace chaos`
    const before = refusals(ground)
    disk.fill()
    await eventually(() => refusals(ground) > before || ground.signal.aborted, { deadlineMs: 60_000, every: 100 })
    return await lastBetween(ground, 1_000, 10_000)
  } finally {
    disk.clear()
    await undone(() => sql`drop index if exists sys.chaos_full, public.chaos_full`)
    await undone(() => sql`drop tablespace if exists chaos`)
    await sql.end({ timeout: 1 })
  }
}

/** How often the server has said so. */
function refusals({ site }: Ground): number {
  return readFileSync(site.services.postgres.logFile, 'utf8').split('No space left on device').length
}

/** Until it works: what is left behind would be a fault of its own. */
async function undone(what: () => PromiseLike<unknown>): Promise<void> {
  const done = async () => {
    await what()
    return true
  }
  await eventually(done, { deadlineMs: 60_000, every: 200 })
}

/** Holds a transaction open after `what`. */
async function holding(
  ground: Ground,
  most: number,
  what: (sql: postgres.TransactionSql) => PromiseLike<unknown>,
  least = 1_000,
): Promise<number> {
  const sql = postgres(ground.stage.database, { max: 1, onnotice() {} })
  try {
    let ms = 0
    await sql.begin('isolation level repeatable read', async (tx) => {
      await what(tx)
      ms = await lastBetween(ground, least, most)
    })
    return ms
  } catch (error) {
    return Promise.reject(error)
  } finally {
    await sql.end({ timeout: 1 })
  }
}
