import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import { hottestOf, stacksOf } from '../../supervisors/thread-stacks.ts'
import { after, before, test } from '../harness.ts'
import { eventually } from '../services.ts'

const bun = process.versions['bun'] !== undefined
let folder = ''

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-stacks-'))
  writeFileSync(
    join(folder, 'thread.mjs'),
    `import { parentPort, workerData } from 'node:worker_threads'

function turnForEver(turns) { for (;;) turnOnce(turns) }
function turnOnce(turns) { let sum = 0; for (let i = 0; i < turns; i++) sum += i; return sum }
parentPort.on('message', (what) => {
  if (what === 'turn') turnForEver(1e6)
  parentPort.postMessage('here')
})
parentPort.postMessage('up')
`,
  )
})
after(() => rmSync(folder, { recursive: true, force: true }))

/** A thread that is up, and what it says from then on. */
async function thread(): Promise<{ readonly worker: Worker; readonly said: readonly unknown[] }> {
  const worker = new Worker(join(folder, 'thread.mjs'))
  const said: unknown[] = []
  worker.on('message', (message) => said.push(message))
  await eventually(() => said.length > 0, { what: 'the thread' })
  return { worker, said }
}

test('a thread in an endless loop says where, and one that does nothing goes on doing nothing', async () => {
  const turning = await thread()
  const idle = await thread()
  turning.worker.postMessage('turn')
  try {
    const stack = await eventually(
      async () => {
        const stacks = await stacksOf(new Set([turning.worker.threadId, idle.worker.threadId]), systemClock)
        if (bun) return stacks.size === 0 && ['none on Bun']
        assert.equal(stacks.get(idle.worker.threadId) ?? [], [])
        const found = stacks.get(turning.worker.threadId) ?? []
        return found.length > 0 && found
      },
      { deadlineMs: 30_000, what: 'a stack' },
    )
    if (!bun) {
      const names = stack.map((frame) => frame.replace(/ .*/, ''))
      assert.ok(
        names.some((name) => name.startsWith('turn')),
        stack.join('\n'),
      )
      assert.match(stack.join('\n'), /turn(ForEver|Once) \(file:.*thread\.mjs:\d\)/)
    }
    idle.worker.postMessage('are you there?')
    await eventually(() => idle.said.includes('here'), { what: 'the idle thread’s answer' })
  } finally {
    await Promise.all([turning.worker.terminate(), idle.worker.terminate()])
  }
})

test('the stack is that of the function that was met most often, without the runtime’s own', () => {
  const frame = (functionName: string, url: string, lineNumber: number) => ({ functionName, url, lineNumber })
  const stack = hottestOf({
    nodes: [
      { id: 1, callFrame: frame('(root)', '', -1), hitCount: 0, children: [2, 3, 6] },
      { id: 2, callFrame: frame('(idle)', '', -1), hitCount: 99 },
      { id: 3, callFrame: frame('receive', 'file:///a.ts', 9), hitCount: 1, children: [4, 5] },
      {
        id: 4,
        callFrame: frame('', 'file:///b.ts', 4),
        hitCount: 7,
        positionTicks: [
          { line: 5, ticks: 2 },
          { line: 6, ticks: 5 },
        ],
      },
      { id: 5, callFrame: frame('other', 'file:///b.ts', 8), hitCount: 3 },
      { id: 6, callFrame: frame('(program)', '', -1), hitCount: 20 },
    ],
  })
  assert.equal(stack, ['(anonymous) (file:///b.ts:6)', 'receive (file:///a.ts:10)'])
  assert.equal(hottestOf({ nodes: [{ id: 1, callFrame: frame('(root)', '', -1), hitCount: 5 }] }), [])
})
