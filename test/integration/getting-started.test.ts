import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import * as assert from 'uvu/assert'
import { devDown } from '../../cli/dev/dev.ts'
import { after, before, test } from '../harness.ts'
import { blocksOf, commandsOf, runsDaemon, Terminal } from '../pages.ts'
import { checkout } from '../runner/runtimes.ts'
import { eventually } from '../services.ts'

/** Looks like the checkout, and takes the files that the page has its reader write. */
let folder = ''
let terminals: readonly [Terminal, Terminal]

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'tenantry-first-'))
  for (const name of readdirSync(checkout))
    if (!name.startsWith('.')) symlinkSync(join(checkout, name), join(folder, name))
  const env = { ...process.env, KAFKA_BROKERS: undefined, DATABASE_URL: undefined, TENANTRY_DEV_ROOT: folder }
  terminals = [new Terminal({ cwd: folder, env }), new Terminal({ cwd: folder, env })]
})

after(async () => {
  for (const terminal of terminals.toReversed()) {
    terminal.interrupt()
    await terminal.close()
  }
  await devDown({ root: folder, wipe: true })
  rmSync(folder, { recursive: true, force: true })
})

test(
  'what docs/getting-started.md has its reader write and run does what it says',
  async () => {
    const [first, second] = terminals
    let last = ''
    let daemon: Promise<string> | undefined
    for (const block of blocksOf('docs/getting-started.md')) {
      const commands = block.language === 'sh' ? commandsOf(block) : []
      if (block.file !== undefined) {
        const file = join(folder, block.file)
        mkdirSync(dirname(file), { recursive: true })
        writeFileSync(file, block.text)
      } else if (block.language === 'text') {
        const shown = block.text.trimEnd()
        await eventually(async () => (await first.run(last)).startsWith(shown), {
          deadlineMs: 60_000,
          every: 100,
          what: `what the page shows after ${last}\n${second.said().slice(-3_000)}`,
        })
      } else if (runsDaemon(block)) {
        for (const command of commands.slice(0, -1)) await second.run(command)
        daemon = second.run(commands.at(-1) ?? '')
        daemon.catch(() => {})
      } else {
        if (commands.some((command) => command.includes('dev down'))) {
          second.interrupt()
          assert.match(await (daemon ?? 'no daemon'), /"event":"daemon\.signal".*"SIGINT"/)
        }
        for (const command of commands) await first.run(command)
        last = commands.at(-1) ?? ''
      }
    }
    assert.ok(daemon, 'the page starts a daemon')
  },
  { timeoutMs: 400_000 },
)
