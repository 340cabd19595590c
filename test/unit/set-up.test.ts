// runtimes: node
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { freePorts, isFree } from '../../cli/dev/ports.ts'
import { takeLock } from '../../tools/setup/lock.mjs'
import { endAll, identify, isAlive } from '../../tools/setup/process.mjs'
import { after, test } from '../harness.ts'
import { checkout } from '../runner/runtimes.ts'
import { eventually } from '../services.ts'

const folder = mkdtempSync(join(tmpdir(), 'tenantry-set-up-'))
after(() => rmSync(folder, { recursive: true, force: true }))

/** What the fixture `leaves-a-sleeper` prints. */
const said = z.object({ pid: z.number(), args: z.array(z.string()), bun: z.string().nullable() })
const up = join(checkout, 'tools/up.mjs')
const fixture = (name: string) => join('test/fixtures/set-up', name)

function output(child: ChildProcess): () => string {
  let text = ''
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')))
  return () => text
}

/** Whether the process, and whatever writes where it wrote, has ended. */
function closed(child: ChildProcess): () => boolean {
  let yes = false
  child.once('close', () => {
    yes = true
  })
  return () => yes
}

test('a program gets its arguments and gives its status, and what it left behind is ended', () => {
  const { stdout, status } = spawnSync(process.execPath, [up, fixture('leaves-a-sleeper.ts'), '--one', 'two'], {
    encoding: 'utf8',
  })
  const { pid, args } = said.parse(JSON.parse(stdout))
  assert.is(status, 3)
  assert.equal(args, ['--one', 'two'])
  assert.is(identify(pid), undefined)
})

test('--runtime bun runs the program on Bun', () => {
  const { stdout } = spawnSync(process.execPath, [up, fixture('leaves-a-sleeper.ts'), '--runtime', 'bun'], {
    encoding: 'utf8',
  })
  const { pid, bun } = said.parse(JSON.parse(stdout))
  assert.type(bun, 'string')
  assert.is(identify(pid), undefined)
})

test('when the npm above it is killed, the program is told to end, and does', async () => {
  // A shell stands for npm: its child would otherwise live on as an orphan.
  const shell = spawn('sh', ['-c', `"${process.execPath}" "${up}" ${fixture('waits.ts')}; true`], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, npm_lifecycle_event: 'demo' },
  })
  const printed = output(shell)
  const ended = closed(shell)
  await eventually(() => printed().includes('ready'), { deadlineMs: 20_000 })
  shell.kill('SIGKILL')
  await eventually(ended, { deadlineMs: 30_000, what: 'the program and the bootstrap have ended' })
  assert.is(printed(), 'ready\nSIGTERM 1\n')
})

test('SIGTERM for the bootstrap reaches the program once', async () => {
  const bootstrap = spawn(process.execPath, [up, fixture('waits.ts')], { stdio: ['ignore', 'pipe', 'inherit'] })
  const printed = output(bootstrap)
  const ended = closed(bootstrap)
  await eventually(() => printed().includes('ready'), { deadlineMs: 20_000 })
  bootstrap.kill('SIGTERM')
  await eventually(ended, { deadlineMs: 30_000, what: 'the bootstrap has ended' })
  assert.is(printed(), 'ready\nSIGTERM 1\n')
})

test('a machine without Java is told what to install, in one sentence', () => {
  // Only Node is on this PATH, and only npm is not needed: nothing is fetched.
  const { stderr, status } = spawnSync(process.execPath, [up, 'examples/none.ts'], {
    encoding: 'utf8',
    env: { PATH: folder, HOME: folder, TENANTRY_CACHE: join(folder, 'cache'), TENANTRY_TOOLS: join(folder, 'tools') },
  })
  assert.is(status, 1)
  assert.match(stderr, /^Java was not found, .* then run again\.\n$/)
})

test('a checkout that cannot be written to is named, in one sentence', () => {
  const { stderr, status } = spawnSync(process.execPath, [up, 'examples/none.ts'], {
    encoding: 'utf8',
    env: { ...process.env, TENANTRY_TOOLS: '/dev/null/tools' },
  })
  assert.is(status, 1)
  assert.match(stderr, /^\/dev\/null\/tools cannot be made or written to, .* then run again\.\n$/)
})

test('what is fetched goes to the cache of whoever has one, else to the checkout; never to where it was started', () => {
  const tools = join(folder, 'tools')
  const script = `import(${JSON.stringify(pathToFileURL(join(checkout, 'tools/setup/paths.mjs')).href)}).then((m) => console.log(m.cacheFolder))`
  const cacheWith = (env: Readonly<Record<string, string>>) => {
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], {
      encoding: 'utf8',
      cwd: folder,
      env: { PATH: process.env['PATH'], TENANTRY_TOOLS: tools, ...env },
    })
    return stdout.trim() || stderr
  }
  const home = join(folder, 'home')
  assert.is(cacheWith({ HOME: home }), join(home, '.cache/tenantry'))
  assert.is(cacheWith({ HOME: home, XDG_CACHE_HOME: join(folder, 'xdg') }), join(folder, 'xdg/tenantry'))
  assert.is(cacheWith({ HOME: home, XDG_CACHE_HOME: 'relative' }), join(home, '.cache/tenantry'))
  assert.is(cacheWith({ HOME: home, TENANTRY_CACHE: 'relative' }), join(folder, 'relative'))
  assert.is(cacheWith({ HOME: '' }), join(tools, 'home/.cache/tenantry'))
  assert.is(cacheWith({ HOME: '/dev/null' }), join(tools, 'cache'))
})

test('a lock is held by one at a time, and a dead owner does not hold it', async () => {
  const path = join(folder, 'lock')
  const free = await takeLock(path)
  let second = false
  const waiting = takeLock(path).then((freeSecond) => {
    second = true
    return freeSecond
  })
  await new Promise((resolve) => setTimeout(resolve, 250))
  assert.is(second, false)
  free()
  const freeSecond = await waiting
  freeSecond()
  assert.is(existsSync(path), false)
  writeFileSync(path, JSON.stringify({ pid: process.pid, start: 'another boot/1' }))
  const freeThird = await takeLock(path)
  freeThird()
})

test('a recorded process is recognised by its start time, and a stranger with its pid is not', async () => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  const record = identify(child.pid ?? 0)
  assert.ok(record)
  assert.ok(isAlive(record))
  assert.not(isAlive({ ...record, start: 'long ago' }))
  await endAll([{ ...record, start: 'long ago' }])
  assert.ok(isAlive(record), 'the stranger was left alone')
  await endAll([record])
  assert.not(isAlive(record))
})

test('free ports differ, are free, and lie below the range of outgoing connections', async () => {
  const ports = await freePorts(20)
  assert.is(new Set(ports).size, 20)
  for (const port of ports) {
    assert.ok(port < 32_768)
    assert.ok(await isFree(port))
  }
})
