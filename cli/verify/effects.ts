import { idOf, textOf } from './ids.ts'
import { type EffectsPlace, type OrderPlace, placeName } from './places.ts'
import type { Messages } from './messages.ts'
import type { Replay } from './replay.ts'
import type { Findings } from './report.ts'
import { columnsOf, named, type Snapshot } from './tables.ts'

/** Every message that was processed has its row, once; no other message has one. */
export async function checkEffects(
  sql: Snapshot,
  place: EffectsPlace,
  replay: Replay,
  whole: boolean,
  findings: Findings,
): Promise<void> {
  const { messages } = replay
  const counts = messages.counter()
  const name = placeName(place)
  await eachRow(sql, { ...place }, (id, tenant) => {
    const number = messages.find(idOf(id), tenant)
    if (number < 0) {
      if (whole)
        findings.add({
          fault: 'invented',
          what: `a row of ${name} that no record explains`,
          messageId: id,
          ...(tenant !== undefined && { tenant }),
        })
      return
    }
    counts.raise(number)
    const expected = replay.expected(number)
    if (counts.at(number) <= expected) return
    const fault = expected === 0 ? 'invented' : 'duplicated'
    const what =
      expected === 0
        ? `a row of ${name} of a message that is ${undoneBecause(messages, number)}`
        : `one more row of ${name}`
    findings.add({ fault, what, messageId: id, ...replay.where(number) })
  })
  let checked = 0
  for (let number = 0; number < messages.size; number++) {
    const expected = replay.expected(number)
    if (expected > 0) checked++
    const missing = expected - counts.at(number)
    if (missing > 0)
      findings.add(
        {
          fault: 'lost',
          what: `no row of ${name}`,
          messageId: textOf(messages.id(number)),
          ...replay.where(number),
        },
        missing,
      )
  }
  findings.prove('lost', `rows of ${name}`, checked)
  findings.prove('duplicated', `rows of ${name}`, checked)
}

function undoneBecause({ parked, dead }: Messages, number: number): string {
  if (parked[number] === 1) return 'parked'
  return dead[number] === 1 ? 'a dead letter' : 'not done'
}

/** The rows of one tenant in one partition were made in the order of its records. */
export async function checkOrder(sql: Snapshot, place: OrderPlace, replay: Replay, findings: Findings): Promise<void> {
  const { messages } = replay
  const last = new Map<string, number>()
  let checked = 0
  await eachRow(sql, place, (id, tenant) => {
    const number = messages.find(idOf(id), tenant)
    // What was replayed ends after newer ones, as the operator was told.
    if (number < 0 || messages.replayed[number] === 1) return
    checked++
    const offset = messages.offset[number] ?? 0
    const key = `${messages.log[number]}/${messages.tenant(number)}`
    const before = last.get(key) ?? -1
    if (offset < before)
      findings.add({
        fault: 'reordered',
        what: `a row of ${placeName(place)} after that of offset ${before}`,
        messageId: id,
        ...replay.where(number),
      })
    else last.set(key, offset)
  })
  findings.prove('reordered', `rows of ${placeName(place)}`, checked)
}

async function eachRow(
  sql: Snapshot,
  place: EffectsPlace & { readonly sequence?: string },
  take: (id: string, tenant: string | undefined) => void,
): Promise<void> {
  const columns = await columnsOf(sql, place.table)
  const tenant = columns.includes('tenant_id') ? sql`tenant_id::text` : sql`null::text`
  const order = place.sequence === undefined ? sql`` : sql`order by ${sql(place.sequence)}`
  const rows = sql<{ id: string | null; tenant: string | null }[]>`
    select ${sql(place.column)}::text as id, ${tenant} as tenant from ${sql(place.table)} ${order}`
  await named(placeName(place), async () => {
    for await (const some of rows.cursor(10_000)) {
      for (const row of some) if (row.id !== null) take(row.id, row.tenant ?? undefined)
    }
  })
}
