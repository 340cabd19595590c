import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Paths of somebody's own machine, and types switched off, have no place in the repository. */
const FORBIDDEN: readonly { readonly pattern: RegExp; readonly files: RegExp; readonly why: string }[] = [
  { pattern: /(?<![\w.~-])\/(work|root)\/[a-z]/, files: /./, why: 'a path of one machine' },
  {
    pattern: /@ts-(ignore|expect-error|nocheck)/,
    files: /^(core|actors|supervisors|cli)\/.*\.ts$/,
    why: 'a type error is silenced',
  },
  {
    pattern: /oxlint-disable|biome-ignore|eslint-disable/,
    files: /\.(ts|mjs)$/,
    why: 'a rule is switched off in place',
  },
  { pattern: /\bsql\.unsafe\(/, files: /^(core|actors|supervisors|cli)\/.*\.ts$/, why: 'SQL from a string' },
]
const EXEMPT = new Set(['tools/check/words.ts', 'package-lock.json'])

/** `path:line: why` for every such line in the files that git knows, or would. */
export function forbiddenWords(checkout: string): string[] {
  const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], {
    cwd: checkout,
    encoding: 'utf8',
  })
  return listed
    .split('\0')
    .filter((path) => path !== '' && !EXEMPT.has(path))
    .flatMap((path) => inFile(checkout, path))
}

function inFile(checkout: string, path: string): string[] {
  const rules = FORBIDDEN.filter((rule) => rule.files.test(path))
  const text = read(join(checkout, path))
  if (rules.length === 0 || text === undefined) return []
  return text
    .split('\n')
    .flatMap((line, index) =>
      rules.filter((rule) => rule.pattern.test(line)).map((rule) => `${path}:${index + 1}: ${rule.why}`),
    )
}

/** The text of a file; undefined for one that is deleted, or no text. */
function read(path: string): string | undefined {
  try {
    const text = readFileSync(path, 'utf8')
    return text.includes('\0') ? undefined : text
  } catch {
    return undefined
  }
}
