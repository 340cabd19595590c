import type postgres from 'postgres'
import type { KafkaPublisher } from '../core/kafka/producer.ts'
import { deliver } from './backlog.ts'
import type { Crew } from './crew.ts'
import type { Daemon } from './daemon.ts'
import { sickMessage, sickTenant } from './sick-tenant.ts'

/** What a stress run does to the daemon, in this order, over and over. */
export const faultKinds = ['worker ended', 'daemon killed', 'backend terminated'] as const

export type FaultKind = (typeof faultKinds)[number]

export type FaultPlace = {
  readonly crew: Crew<Daemon>
  readonly sql: postgres.Sql
  readonly publisher: KafkaPublisher
  readonly topic: string
}

/** Does it; resolves with the records that it has added to the topic. */
export async function commitFault(kind: FaultKind, n: number, place: FaultPlace): Promise<number> {
  const { crew, sql, publisher, topic } = place
  switch (kind) {
    case 'worker ended':
      // A handler that ends its thread: from outside, no thread of a process can be ended alone.
      await deliver(publisher, [sickMessage(topic, sickTenant, 'ending', n)])
      return 1
    case 'daemon killed':
      await Promise.all(crew.running.map((daemon) => crew.lose(daemon)))
      await crew.join()
      return 0
    case 'backend terminated':
      await sql`
        select pg_terminate_backend(pid)
        from pg_stat_activity
        where datname = current_database() and application_name <> 'tenantry bench' and backend_type = 'client backend'
        order by xact_start nulls last
        limit 1`
      return 0
  }
}
