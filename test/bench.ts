import { spawn } from 'node:child_process'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { kafkaAddress, postgresAddress } from './services.ts'

const main = join(import.meta.dirname, '../bench/main.ts')

/** Runs the bench's quick form, which must succeed, and returns the runs that the last line of its standard output holds. */
export async function bench(args: readonly string[]): Promise<unknown> {
  const servers = ['--kafka', kafkaAddress(), '--postgres', postgresAddress()]
  const child = spawn(process.execPath, [main, ...args, '--quick', '--json', ...servers], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [output, talk] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (talk += text))
  const code = await new Promise((resolve) => child.once('close', resolve))
  assert.is(code, 0, talk)
  return JSON.parse(output.trimEnd().split('\n').at(-1) ?? '')
}
