import { idOf } from './ids.ts'
import type { Replay } from './replay.ts'
import type { Findings } from './report.ts'
import type { Snapshot } from './tables.ts'

/** Every message that was processed has its key, once; every key has its message. */
export async function checkKeys(
  sql: Snapshot,
  group: string,
  replay: Replay,
  whole: boolean,
  findings: Findings,
): Promise<void> {
  const { messages } = replay
  const keys = sql<{ id: string; tenant: string }[]>`
    select message_id::text as id, tenant_id as tenant from sys.request_keys where group_name = ${group}`
  for await (const rows of keys.cursor(10_000)) {
    for (const { id, tenant } of rows) {
      const number = messages.find(idOf(id), tenant)
      const known = number >= 0 && ((messages.done[number] ?? 0) > 0 || messages.dead[number] === 1)
      if (known) {
        messages.keys[number] = Math.min(255, (messages.keys[number] ?? 0) + 1)
        if (messages.keys[number] !== 1)
          findings.add({ fault: 'duplicated', what: 'a message with two keys', messageId: id, ...replay.where(number) })
      } else if (number >= 0)
        findings.add({
          fault: 'invented',
          what: `a key of a record that is ${messages.parked[number] === 1 ? 'parked' : 'not done'}`,
          messageId: id,
          ...replay.where(number),
        })
      else if (whole) findings.add({ fault: 'invented', what: 'a key that no record explains', messageId: id, tenant })
    }
  }
}
