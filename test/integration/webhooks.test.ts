// runtimes: node, bun
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { devAddresses, devDown } from '../../cli/dev/dev.ts'
import { deliveries } from '../../examples/webhooks/recorded.ts'
import { after, before, test } from '../harness.ts'
import { blocksOf, commandsOf, runsDaemon, Terminal } from '../pages.ts'
import { checkout } from '../runner/runtimes.ts'
import { eventually, recordsDone } from '../services.ts'

let root = ''
let terminals: readonly [Terminal, Terminal]
let sql: postgres.Sql | undefined

before(async () => {
  root = mkdtempSync(join(tmpdir(), 'tenantry-webhooks-'))
  const env = { ...process.env, KAFKA_BROKERS: undefined, DATABASE_URL: undefined, TENANTRY_DEV_ROOT: root }
  terminals = [new Terminal({ cwd: checkout, env }), new Terminal({ cwd: checkout, env })]
  // What npm and set-up would start on Node.
  if (process.versions['bun'] !== undefined)
    for (const terminal of terminals)
      for (const command of [
        `npm() { if [ "$5" = dev ]; then command npm "$@"; else '${process.execPath}' cli/main.ts "\${@:5}"; fi; }`,
        `node() { '${process.execPath}' "\${@:2}"; }`,
      ])
        await terminal.run(command)
})

after(async () => {
  await sql?.end({ timeout: 1 })
  for (const terminal of terminals.toReversed()) {
    terminal.interrupt()
    await terminal.close()
  }
  await devDown({ root, wipe: true })
  rmSync(root, { recursive: true, force: true })
})

test(
  "every recorded webhook, sent twice by the README's commands, is one row, in the order of its repository",
  async () => {
    const [first, second] = terminals
    const [prepare, start, look] = blocksOf('examples/webhooks/README.md').map((block) => ({
      commands: commandsOf(block),
      daemon: runsDaemon(block),
    }))
    assert.ok(prepare && start?.daemon && look, 'the page has three blocks, and the second one starts the daemon')
    for (const command of prepare.commands) await first.run(command)
    for (const command of start.commands.slice(0, -1)) await second.run(command)
    const daemon = second.run(start.commands.at(-1) ?? '')
    daemon.catch(() => {})

    const addresses = await devAddresses({ root })
    const database = postgres(addresses?.postgres ?? '', { max: 1, onnotice() {} })
    sql = database
    const sent = deliveries()
    await eventually(async () => (await recordsDone(database, 'audit')) === 2 * sent.length, {
      deadlineMs: 60_000,
      every: 100,
      what: `all deliveries done\n${second.said().slice(-3_000)}`,
    })
    const table = await first.run(look.commands[0] ?? '')
    const verified = await first.run(look.commands[1] ?? '')
    assert.is(table.split('\n').length, 1 + sent.length)
    assert.match(verified, new RegExp(`^${sent.length} processed, ${sent.length} duplicates, 0 dead letters`, 'm'))
    second.interrupt()
    assert.match(await daemon, /"event":"daemon\.signal"/)

    const numbers = new Map<string, number>()
    const expected = sent.map(({ tenant, id, kind, action }) => {
      const number = (numbers.get(tenant) ?? 0) + 1
      numbers.set(tenant, number)
      return { tenant_id: tenant, message_id: id, number, kind, action }
    })
    const key = (row: { readonly message_id: string }) => row.message_id
    const rows = await database<typeof expected>`select tenant_id, message_id, number, kind, action from deliveries`
    assert.equal(
      [...rows].sort((a, b) => (key(a) < key(b) ? -1 : 1)),
      expected.sort((a, b) => (key(a) < key(b) ? -1 : 1)),
    )
    const [push] =
      await database`select summary from deliveries where kind = 'push' and summary like '1 commits to %' limit 1`
    assert.ok(push, 'a push was read through its schema')
    for (const command of look.commands.slice(2)) await first.run(command)
  },
  { timeoutMs: 300_000 },
)
