// node tools/up.mjs FILE.ts [arguments]: does what set-up is still missing, then runs FILE on the right runtime.
// Every npm script starts here. Must parse on Node 18; imports only node: and its own folder.
import { dirname, join, resolve } from 'node:path'
import { addonReady, buildIsLikely, ensureAddon, prepareBuild } from './setup/addon.mjs'
import { bunBinary } from './setup/bun.mjs'
import { runChild, sweep, watchAncestors } from './setup/child.mjs'
import { checkKafkaTools, ensureKafka, kafkaReady } from './setup/kafka.mjs'
import { takeLock } from './setup/lock.mjs'
import { ensureNode, readyNode } from './setup/node.mjs'
import { ensurePackages, packagesReady } from './setup/packages.mjs'
import { isWritable, root, toolsFolder } from './setup/paths.mjs'
import { newMark, RUN_MARK } from './setup/process.mjs'
import { ensureRedis, redisReady } from './setup/redis.mjs'
import { say, SetupError } from './setup/say.mjs'

const [file, ...args] = process.argv.slice(2)

/** Which programs start the local services themselves: for them, Kafka and Redis are fetched beside everything else. */
function wantsServices() {
  if (file === undefined) return true
  if (file === 'cli/main.ts') return args[0] === 'dev' && args[1] === 'up'
  if (file === 'test/run.ts') return !args.some((arg) => arg.includes('test/unit'))
  return file.startsWith('examples/') || file.startsWith('bench/') || file === 'test/chaos/main.ts'
}

/** The runtime that the program asks for; the test runner and the bench start their own. */
function wantsBun() {
  if (file === 'test/run.ts' || file?.startsWith('bench/')) return false
  const at = args.indexOf('--runtime')
  return args.includes('--runtime=bun') || (at >= 0 && args[at + 1] === 'bun')
}

function bun() {
  const found = bunBinary()
  if (found !== undefined) return found
  throw new SetupError(
    `Bun's binary is not among the packages for ${process.platform}-${process.arch}: leave out --runtime bun.`,
  )
}

function ready() {
  const node = readyNode()
  if (!node || !packagesReady() || !addonReady(node)) return undefined
  return !wantsServices() || (kafkaReady() && redisReady()) ? node : undefined
}

async function setUp() {
  if (wantsServices()) checkKafkaTools()
  if (!isWritable(toolsFolder))
    throw new SetupError(
      `${toolsFolder} cannot be made or written to, and set-up keeps there what it fetches: let this user write to the checkout, then run again.`,
    )
  const free = await takeLock(join(toolsFolder, 'lock'), () => say('waiting for another set-up in this checkout …'))
  try {
    if (buildIsLikely()) prepareBuild().catch(() => {})
    const services = wantsServices() ? [ensureKafka(), ensureRedis()] : []
    const main = (async () => {
      const node = await ensureNode()
      await ensurePackages(node)
      await ensureAddon(node)
      return node
    })()
    const results = await Promise.allSettled([main, ...services])
    for (const result of results) if (result.status === 'rejected') throw result.reason
    return await main
  } finally {
    free()
  }
}

async function main() {
  process.env[RUN_MARK] = newMark(RUN_MARK)
  const stop = (code) => () => {
    void sweep(2000).then(() => process.exit(code))
  }
  const handlers = { SIGINT: stop(130), SIGTERM: stop(143), SIGHUP: stop(129) }
  for (const name of Object.keys(handlers)) process.on(name, handlers[name])
  const stopWatching = watchAncestors(handlers.SIGTERM)
  const node = ready() || (await setUp())
  stopWatching()
  for (const name of Object.keys(handlers)) process.off(name, handlers[name])
  if (file === undefined) return 0
  const program = wantsBun() ? bun() : node
  const env = { ...process.env, PATH: `${dirname(node)}:${process.env.PATH || ''}` }
  const flags = program === node ? ['--disable-warning=ExperimentalWarning'] : []
  return runChild(program, [...flags, resolve(root, file), ...args], env)
}

// A terminal that has gone must not keep us from ending what we started.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

main().then(
  (status) => process.exit(status),
  (error) => {
    process.stderr.write(error instanceof SetupError ? `${error.message}\n` : `${error.stack || error}\n`)
    process.exit(1)
  },
)
