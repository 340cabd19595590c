import * as assert from 'uvu/assert'
import type { Catalog } from '../../core/catalog.ts'
import { silentLog } from '../../core/log.ts'
import { CatalogWatch } from '../../supervisors/catalog-watch.ts'
import { test } from '../harness.ts'
import { ManualClock } from '../manual-clock.ts'

const tables = (...names: string[]): Catalog => ({
  tables: names.map((name) => ({ name, columns: [], uniques: [], references: [] })),
})

function watched() {
  const clock = new ManualClock()
  const events: string[] = []
  const state = { catalog: tables('public.a'), away: false, reads: 0 }
  const watch = new CatalogWatch(tables('public.a'), {
    clock,
    log: { ...silentLog, info: (event, fields) => void events.push(`${event} ${JSON.stringify(fields)}`) },
    read: async () => {
      state.reads++
      if (state.away) throw new Error('away')
      return state.catalog
    },
    changed: (catalog) => void events.push(catalog.tables.map(({ name }) => name).join()),
  })
  return { clock, events, state, watch }
}

test('the tables are looked at every minute, and told when they are others', async () => {
  const { clock, events, state, watch } = watched()
  await clock.pass(120_000)
  assert.equal([state.reads, events], [2, []])
  state.catalog = tables('public.a', 'public.b')
  await clock.pass(60_000)
  assert.equal(events, ['catalog.changed {"tables":["public.b"],"count":1}', 'public.a,public.b'])
  watch.stop()
  await clock.pass(600_000)
  assert.is(state.reads, 3)
})

test('a look that fails counts for none, and the next is made as soon as it is asked for', async () => {
  const { clock, state, watch } = watched()
  state.away = true
  watch.lookAgain()
  watch.lookAgain()
  await clock.pass(100)
  assert.equal([state.reads, watch.lookedAt], [1, Number.NEGATIVE_INFINITY])
  state.away = false
  watch.lookAgain()
  await clock.pass(100)
  assert.equal([state.reads, watch.lookedAt], [2, 100])
})
