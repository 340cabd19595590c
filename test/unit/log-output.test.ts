// runtimes: node, bun
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { LogOutput } from '../../core/log-output.ts'
import { test } from '../harness.ts'

function failing(code: string): never {
  throw Object.assign(new Error(`${code}: no room`), { code })
}

/** An output to a disk with room for so many bytes, which may be changed. */
function disk(room: number) {
  const state = { room, text: '', reasons: [] as string[] }
  const output = new LogOutput({
    sink: (bytes) => {
      const taken = Math.min(bytes.length, state.room)
      if (taken === 0) failing('ENOSPC')
      state.room -= taken
      state.text += Buffer.from(bytes.subarray(0, taken)).toString()
      return taken
    },
    losing: (reason) => state.reasons.push(reason),
  })
  return { state, output }
}

test('a full disk costs lines, ends nothing, and is told when there is room again', () => {
  const { state, output } = disk(12)
  for (const line of ['first\n', 'second\n', 'third\n']) output.write(line)
  assert.is(state.text, 'first\nsecond')
  assert.equal(state.reasons, ['ENOSPC: no room'])
  state.room = 1_000
  output.write('last\n')
  const lines = state.text.split('\n')
  assert.equal([lines[0], lines[1], lines[3]], ['first', 'second', 'last'])
  assert.match(lines[2] ?? '', /"event":"log.lost","count":2/)
})

test('a slow reader gets every line in order while they are few, and is told how many were too many', () => {
  let room = 8
  let text = ''
  const output = new LogOutput({
    sink: (bytes) => {
      const taken = Math.min(bytes.length, room)
      if (taken === 0) failing('EAGAIN')
      room -= taken
      text += Buffer.from(bytes.subarray(0, taken)).toString()
      return taken
    },
    maxWaiting: 10,
    losing: () => {},
  })
  for (const line of ['first\n', 'second\n', 'third\n', 'fourth\n', 'fifth\n']) output.write(line)
  assert.is(text, 'first\nse')
  room = 1_000
  output.write('sixth\n')
  assert.match(text, /^first\nsecond\nthird\n\{.*"event":"log.lost","count":2,.*\}\nsixth\n$/)
})

const program = `
import { LogOutput } from ${JSON.stringify(fileURLToPath(new URL('../../core/log-output.ts', import.meta.url)))}
void process.stdout
process.stdout.on('error', () => {})
const output = new LogOutput({ maxWaiting: 200_000 })
for (let i = 0; i < 20_000; i++) output.write('x'.repeat(100) + '\\n')
output.flush()
process.stderr.write('went on', () => process.exit(0))
`

/** What a program that logs two megabytes says on its standard error. Nobody reads its output. */
async function logging(stdout: 'pipe' | number, begun: (child: ChildProcess) => void = () => {}): Promise<string> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', stdout, 'pipe'] })
  begun(child)
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  await once(child, 'exit')
  child.stdout?.destroy()
  return said
}

test('a disk that is full does not end the process', async () => {
  const full = openSync('/dev/full', 'w')
  assert.match(await logging(full), /cannot be written \(ENOSPC.*went on/s)
  closeSync(full)
})

test('a reader that has gone, or reads nothing, does not end or hold the process', async () => {
  const gone = await logging('pipe', (child) => child.stdout?.destroy())
  assert.match(gone, /cannot be written \(EPIPE.*went on/s)
  assert.match(await logging('pipe'), /its reader is too slow.*went on/s)
})
