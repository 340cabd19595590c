import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { forbiddenWords } from './words.ts'

const checkout = resolve(import.meta.dirname, '../..')
const folders = ['core', 'actors', 'supervisors', 'cli', 'tools', 'test', 'bench', 'examples'].filter((name) =>
  existsSync(join(checkout, name)),
)

/** One thing that is checked about the code. */
export interface Step {
  readonly name: string
  /** What is wrong, as text for people; '' when nothing is. */
  run(): Promise<string>
}

/** Types, lint with layers and import circles, dead code, words that do not belong here, format. */
export const steps: readonly Step[] = [
  { name: 'types', run: () => program('typescript/bin/tsc', ['-p', '.']) },
  { name: 'lint', run: () => program('oxlint/bin/oxlint', ['--type-aware', '--quiet', ...folders]) },
  { name: 'dead code', run: () => program('knip/bin/knip.js', ['--no-progress', '--no-config-hints']) },
  { name: 'words', run: async () => forbiddenWords(checkout).join('\n') },
  { name: 'format', run: () => program('@biomejs/biome/bin/biome', ['format', ...folders]) },
]

/** Puts right what a program can: format, and lint's safe fixes. */
export async function fix(): Promise<string> {
  const lint = await program('oxlint/bin/oxlint', ['--type-aware', '--quiet', '--fix', ...folders])
  return `${lint}${await program('@biomejs/biome/bin/biome', ['format', '--write', ...folders])}`
}

/** Runs a package's program by Node; its output when it says that something is wrong. */
function program(path: string, args: readonly string[]): Promise<string> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [join(checkout, 'node_modules', path), ...args], {
      cwd: checkout,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')))
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')))
    child.once('error', fail)
    child.once('close', (code) => done(code === 0 ? '' : output.trim() || `${path} ended with ${code}`))
  })
}
