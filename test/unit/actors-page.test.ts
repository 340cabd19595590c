import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { loadTopology } from '../../actors/topology.ts'
import { loadable } from '../actor-folder.ts'
import { test } from '../harness.ts'
import { blocksOf } from '../pages.ts'

// docs/actors.md: the actors that it shows are actors.

test('every actor of docs/actors.md loads, with the pauses that it gives its retries', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tenantry-actors-page-'))
  try {
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
    const shown = blocksOf('docs/actors.md').filter(({ text }) => text.includes('export default defineActor('))
    for (const [i, { text }] of shown.entries()) writeFileSync(join(folder, `${i}.ts`), loadable(text))
    const { actors } = await loadTopology(folder)
    assert.is(actors.length, shown.length)
    const { delaysMs, types } = actors.find(({ group }) => group === 'saga')?.retry ?? {}
    assert.equal([delaysMs?.length, types], [4, { 'payment.settled': [] }])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
