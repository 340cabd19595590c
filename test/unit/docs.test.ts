import { readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { pages } from '../../tools/docs/pages.ts'
import { test } from '../harness.ts'

for (const { path, text } of pages) {
  test(`${path} says what the code says (otherwise: node tools/docs.ts)`, () => {
    assert.is(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'), text())
  })
}
