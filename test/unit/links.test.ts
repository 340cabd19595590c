import { existsSync, globSync, readFileSync } from 'node:fs'
import { z } from 'zod'
import * as assert from 'uvu/assert'
import { test } from '../harness.ts'

const root = new URL('../../', import.meta.url)

test('what the pages link to is there, headings included', () => {
  const broken: string[] = []
  for (const page of ['README.md', ...globSync(['docs/*.md', 'examples/*/*.md'], { cwd: root })]) {
    for (const [, link = ''] of read(page).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const [path = '', heading] = link.split('#')
      const target = new URL(path === '' ? page : path, new URL(page, root))
      if (!existsSync(target)) broken.push(`${page}: ${link}`)
      else if (heading !== undefined && !headingsOf(readFileSync(target, 'utf8')).includes(heading))
        broken.push(`${page}: ${link}`)
    }
  }
  assert.equal(broken, [])
})

test('every page of docs/ is reached from the README', () => {
  const readme = read('README.md')
  assert.equal(
    globSync('docs/*.md', { cwd: root }).filter((page) => !readme.includes(`(${page})`)),
    [],
  )
})

test('every script that the README names is there', () => {
  const { scripts } = z.object({ scripts: z.record(z.string(), z.string()) }).parse(JSON.parse(read('package.json')))
  const named = [...read('README.md').matchAll(/npm (?:run (?:-s )?)?([a-z]+)/g)].map(([, name = '']) => name)
  assert.ok(named.includes('demo') && named.includes('test'))
  assert.equal(
    named.filter((name) => !(name in scripts)),
    [],
  )
})

function headingsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} -]/gu, '')
      .replaceAll(' ', '-'),
  )
}

function read(path: string): string {
  return readFileSync(new URL(path, root), 'utf8')
}
