import { type Clock, sleep } from '../clock.ts'
import { errorOf, TenantryError } from '../errors.ts'
import { plainArray, textArray } from './array-text.ts'
import type { Ask } from './control.ts'
import type { Backend } from './lane-connection.ts'
import type { Commit, Resolution } from './transactions.ts'

/** A backend that has not gone after this long is frozen: the caller asks again later. */
const goneDeadlineMs = 5_000
const lookMs = 20

/**
 * What became of a commit whose answer was lost: first ends the backend that had it and waits until it has gone, so that
 * nothing can change any more, then looks for the commit's id in the rows that it would have written.
 */
export async function lookUp(
  control: Ask,
  clock: Clock,
  backend: Backend | undefined,
  commit: Commit,
): Promise<Resolution> {
  try {
    if (backend && !(await ended(control, clock, backend))) {
      return {
        kind: 'unavailable',
        reason: new TenantryError(
          'TENANTRY_BACKEND_FROZEN',
          `PostgreSQL's backend ${backend.pid} was told to end and has not`,
          { pid: backend.pid },
        ),
      }
    }
    const { partitions } = commit
    const rows = await control<{ place: number; committed: boolean; moved: boolean }[]>`
      select named.place::integer - 1 as place,
        exists (
          select from sys.partition_progress as written
          where written.group_name = named.group_name and written.topic_id = named.topic_id
            and written.partition = named.partition and written.seq = named.seq + 1 and written.commit_id = ${commit.id}
        ) as committed,
        last.commit_id is distinct from named.follows as moved
      from unnest(
        ${textArray(partitions.map(({ ref }) => ref.group))}::text[], ${plainArray(partitions.map(({ ref }) => ref.topicId))}::uuid[],
        ${plainArray(partitions.map(({ ref }) => ref.partition))}::integer[], ${plainArray(partitions.map(({ follows }) => follows))}::uuid[],
        ${plainArray(partitions.map(({ seq }) => seq))}::bigint[]
      ) with ordinality as named (group_name, topic_id, partition, follows, seq, place)
      left join lateral (
        select progress.commit_id
        from sys.partition_progress as progress
        where progress.group_name = named.group_name and progress.topic_id = named.topic_id and progress.partition = named.partition
        order by progress.seq desc
        limit 1
      ) as last on true`
    if (rows.some(({ committed }) => committed)) return { kind: 'committed' }
    return { kind: 'not-committed', moved: rows.filter(({ moved }) => moved).map(({ place }) => place) }
  } catch (error) {
    return { kind: 'unavailable', reason: errorOf(error) }
  }
}

async function ended(control: Ask, clock: Clock, backend: Backend): Promise<boolean> {
  const deadline = clock.monotonic() + goneDeadlineMs
  for (;;) {
    // In the same statement: who is still there is told (again) to go.
    const rows = await control`
      select pg_terminate_backend(pid) from pg_stat_activity
      where pid = ${backend.pid} and extract(epoch from backend_start)::text = ${backend.startedAt}`
    if (rows.length === 0) return true
    if (clock.monotonic() >= deadline) return false
    await sleep(clock, lookMs)
  }
}
