import { setTimeout as pause } from 'node:timers/promises'
import type postgres from 'postgres'
import { Log } from '../../cli/verify/log.ts'
import { positionsOf } from '../../tools/run/positions.ts'
import { commands } from './messages.ts'

/** What a crash leaves for the next daemon. */
export type CameAgain = {
  /** Records that the dead daemon had been given, from the offsets on that Kafka has of the group. */
  readonly records: number
  /** Of them: done already. Progress knows them, and they are not run again. */
  readonly recognised: number
  /** Of them: given to an actor, perhaps, and not committed. They run again; nothing of their first run is left. */
  readonly run_again: number
}

/** Compares what Kafka would hand out again with what PostgreSQL knows to be done. The daemon must be dead. */
export async function whatCameAgain(
  sql: postgres.Sql,
  kafka: readonly string[],
  delivered: ReadonlyMap<number, number>,
): Promise<CameAgain> {
  // A commit that was on its way may still be carried out: PostgreSQL ends the dead daemon's connections as it notices.
  for (let tries = 0; tries < 100; tries++) {
    const [row] = await sql<{ open: number }[]>`
      select count(*)::int as open from pg_stat_activity
      where datname = current_database() and application_name like 'tenantry%' and state <> 'idle'`
    if (row?.open === 0) break
    await pause(50)
  }
  const log = new Log({ bootstrap: kafka, clientId: 'flights-demo' }, 'actuator')
  try {
    const committed = await log.committed(commands)
    let [records, recognised] = [0, 0]
    for (const { partition, done, watermark } of await positionsOf(sql, 'actuator')) {
      const from = Math.max(0, committed[partition] ?? 0)
      recognised += Math.max(0, done - from)
      records += Math.max(0, Math.max(delivered.get(partition) ?? 0, done, watermark) - from)
    }
    return { records, recognised, run_again: records - recognised }
  } finally {
    await log.close()
  }
}

/** How many records of each partition a daemon has been given, by its metrics. */
export function deliveredOf(metrics: ReadonlyMap<string, number>): ReadonlyMap<number, number> {
  const delivered = new Map<number, number>()
  for (const [name, value] of metrics) {
    const partition = /^tenantry_records_consumed_total\{group="actuator",.*partition="(\d+)"/.exec(name)?.[1]
    if (partition !== undefined) delivered.set(Number(partition), value)
  }
  return delivered
}
