import { globSync, readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { waits } from '../../supervisors/waits-for.ts'
import { errorCodes } from '../../tools/docs/errors.ts'
import { pages } from '../../tools/docs/pages.ts'
import { test } from '../harness.ts'

for (const { path, text } of pages) {
  test(`${path} says what the code says (otherwise: npm run docs)`, () => {
    assert.is(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'), text())
  })
}

test('every error code in the source is documented in tools/docs/errors.ts (then: npm run docs), and no other', () => {
  const root = new URL('../../', import.meta.url)
  const raised = new Set<string>()
  for (const file of globSync('{core,actors,supervisors,cli}/**/*.{ts,mjs}', { cwd: root })) {
    const text = readFileSync(new URL(file, root), 'utf8')
    for (const [, code = ''] of text.matchAll(/(?:TenantryError\(|super\(|Code = |: )\s*'(TENANTRY_[A-Z_]+)'/g))
      raised.add(code)
  }
  assert.equal(
    [...raised].filter((code) => !errorCodes.includes(code)),
    [],
    'not documented',
  )
  assert.equal(
    errorCodes.filter((code) => !raised.has(code)),
    [],
    'not in the source',
  )
})

test('docs/architecture.md says of each thing that a mailbox may wait for until when', () => {
  const text = readFileSync(new URL('../../docs/architecture.md', import.meta.url), 'utf8')
  const [, section = ''] = /^## What a mailbox waits for\n([^]*?)^## /m.exec(text) ?? []
  const words = [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, word]) => word)
  assert.equal(words, [...waits])
})
