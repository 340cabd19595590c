import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { EngineStage } from './engine-stage.ts'

test('each worker has its mailboxes, its records, and the ten that it has been at for longest', async () => {
  const stage = new EngineStage()
  await stage.assign()
  const tenants = Array.from({ length: 12 }, (_, i) => `t${i}`)
  for (const tenant of tenants) {
    stage.silent.add(tenant)
    await stage.send([tenant, tenant])
    await stage.clock.pass(1_000)
  }
  await stage.send(['well'])
  const load = stage.engine.loads().get(0)
  assert.equal([load?.open, load?.inFlight], [13, 24])
  assert.equal(
    load?.longest.map(({ tenant, offset, forMs }) => `${tenant} ${offset} ${forMs}`),
    tenants.slice(0, 10).map((tenant, i) => `${tenant} ${2 * i} ${1_000 * (12 - i)}`),
  )
})
