// runtimes: node, bun
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { writeActor } from '../actor-folder.ts'
import { after, before, test } from '../harness.ts'
import { eventually, freshDatabase, freshTopic, kafkaAddress, sendAll } from '../services.ts'
import { runCli, type RunningCli, startCli } from '../spawn-cli.ts'

const bun = process.versions['bun'] !== undefined
let folder = ''
let topic = ''
let database: Awaited<ReturnType<typeof freshDatabase>>
let daemon: RunningCli
let url = ''

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-threads-'))
  topic = await freshTopic({ partitions: 1 })
  database = await freshDatabase()
  writeActor(
    folder,
    'ping',
    `import { z } from 'zod'
import { defineActor } from 'tenantry'
function turnForEver() {
  for (let n = 0; ; n++) Math.sqrt(n)
}
export default defineActor({
  group: '${topic}',
  topic: '${topic}',
  messages: { ping: z.object({}) },
  async receive(_message, ctx) {
    if (ctx.tenantId === 'hangs') await new Promise(() => {})
    if (ctx.tenantId === 'turns') turnForEver()
  },
})
`,
  )
  writeFileSync(
    join(folder, 'tenantry.yml'),
    `kafka: { brokers: "\${BROKERS}", driver: platformatic }\ngroups:\n  ${topic}: { start: earliest }\nhttp: { port: 0 }\ndeadLetters: { topic: off }\nworkers: { count: 2, handlerTimeout: 10m, blockLimit: 10m }\n`,
  )
  assert.is((await runCli(['migrate', 'up'], at())).code, 0)
  daemon = startCli(['start'], at())
  url = await eventually(() => /"url":"([^"]+)"/.exec(daemon.stdout())?.[1] ?? false, {
    deadlineMs: 60_000,
    what: 'the HTTP server',
  })
})

after(async () => {
  daemon.child.kill('SIGKILL')
  await daemon.ended
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

function at() {
  return { cwd: folder, env: { BROKERS: kafkaAddress(), DATABASE_URL: database.url } }
}

async function send(tenant: string): Promise<void> {
  const value = { message_id: randomUUID(), type: 'ping', tenant_id: tenant, payload: {} }
  const message = { topic, key: Buffer.from(tenant), value: Buffer.from(JSON.stringify(value)), headers: [] }
  await sendAll([message])
}

const running = async (tenant: string) =>
  (await (await fetch(`${url}/stuck?tenant=${tenant}`)).text()).includes('"running"')

const workerLine = z.object({
  event: z.string(),
  level: z.literal('info'),
  worker: z.int(),
  utilisation: z.number().optional(),
  heapUsedBytes: z.number().optional(),
  mailboxes: z.int(),
  inFlight: z.int(),
  executing: z.array(z.string()),
  stack: z.array(z.string()).optional(),
})

/** What the daemon has said of its workers, from the `from`th line of its log on. */
function dumped(from: number) {
  const lines = daemon.stdout().split('\n').slice(from)
  return lines
    .filter((line) => line.includes('"event":"threads.worker.'))
    .map((line) => workerLine.parse(JSON.parse(line)))
}

test(
  'SIGUSR2 has a daemon say what each thread runs, and where one is that does not answer; it goes on as before',
  async () => {
    // The second goes to the other worker, which has less.
    for (const tenant of ['hangs', 'turns']) {
      await send(tenant)
      await eventually(() => running(tenant), { deadlineMs: 60_000, what: `${tenant} to run` })
    }
    for (let round = 0; round < 2; round++) {
      const from = daemon.stdout().split('\n').length - 1
      daemon.child.kill('SIGUSR2')
      await eventually(() => daemon.stdout().split('\n').slice(from).join().includes('"event":"threads.process"'), {
        deadlineMs: 60_000,
        what: 'the dump',
      })
      const workers = dumped(from)
      assert.equal(new Set(workers.map(({ worker }) => worker)), new Set([0, 1]))
      const of = (tenant: string) => workers.find(({ executing }) => executing.join().includes(`tenant ${tenant}, `))
      const [turning, hanging] = [of('turns'), of('hangs')]
      assert.equal([turning?.inFlight, hanging?.inFlight], [1, 1])
      assert.match(turning?.executing.join() ?? '', new RegExp(`tenant turns, ${topic}-0, offset 1, for \\d+ ms`))
      assert.is(hanging?.stack, undefined, 'it waits for a promise: nothing of it runs')
      if (!bun) {
        assert.ok((turning?.utilisation ?? 0) > 0.9 && (hanging?.utilisation ?? 1) < 0.9)
        assert.match(
          turning?.stack?.join('\n') ?? JSON.stringify(workers),
          /^(turnForEver|receive) \(file:.*ping\.ts:\d+\)\n/,
        )
        assert.ok((hanging?.heapUsedBytes ?? 0) > 1_000_000)
      }
    }
    assert.is((await fetch(`${url}/health/ready`)).status, 200)
  },
  { timeoutMs: 200_000 },
)
