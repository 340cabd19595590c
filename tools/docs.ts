import { writeFileSync } from 'node:fs'
import { pages } from './docs/pages.ts'

// npm run docs: writes the pages of docs/ that are made from the code. A test says when one is out of date.

for (const { path, text } of pages) {
  writeFileSync(new URL(`../${path}`, import.meta.url), text())
  process.stdout.write(`${path}\n`)
}
