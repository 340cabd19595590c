import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { TenantryError } from '../../core/errors.ts'
import { onPath, toolsFolder } from '../../tools/setup/paths.mjs'
import { run } from '../../tools/setup/run.mjs'

/** A module of bench/peers/java: one library, with the client of Kafka that it wants. */
export type JavaModule = 'java-consumer' | 'parallel-consumer' | 'spring-kafka'

const sources = join(import.meta.dirname, 'java')
const builds = new Map<JavaModule, Promise<string>>()

/**
 * The class path of a module, built by Maven unless its sources are those of the last build. A module that cannot be
 * built keeps no other from it. Throws TENANTRY_PEER_NOT_BUILT, with the reason.
 */
export function classPathOf(module: JavaModule): Promise<string> {
  const known = builds.get(module)
  if (known !== undefined) return known
  const build = ensureBuilt(module)
  builds.set(module, build)
  return build
}

async function ensureBuilt(module: JavaModule): Promise<string> {
  const name = `${module}-${sourcesHash()}`
  const folder = join(toolsFolder, 'peers', name)
  const complete = join(folder, 'complete')
  if (!existsSync(complete)) {
    const temporary = `${folder}.tmp${process.pid}`
    try {
      await build(module, temporary)
      writeFileSync(join(temporary, 'complete'), '')
      for (const old of globSync(join(toolsFolder, 'peers', `${module}-*`)))
        if (old !== temporary) rmSync(old, { recursive: true, force: true })
      renameSync(temporary, folder)
    } finally {
      rmSync(temporary, { recursive: true, force: true })
    }
  }
  return [join(folder, module, `${module}-1.jar`), join(folder, module, 'jars', '*')].join(':')
}

async function build(module: JavaModule, out: string): Promise<void> {
  javaProgram()
  if (onPath('mvn') === undefined) throw notBuilt('Maven (mvn) was not found: apt-get install maven', { module })
  mkdirSync(out, { recursive: true })
  process.stderr.write(`Building the Java peers of ${module} …\n`)
  const args = ['-q', '-B', '-ntp', '-f', join(sources, 'pom.xml'), '-pl', module, '-am', 'package', `-Dout=${out}`]
  const { code, stdout } = await run('mvn', args, { capture: true })
  if (code === 0) return
  const lines = stripVTControlCharacters(stdout).split('\n')
  const reason =
    lines.find((line) => line.startsWith('[ERROR]'))?.slice('[ERROR] '.length) ?? `Maven ended with ${code}`
  throw notBuilt(reason, { module })
}

/** Of everything in it, so that a changed program or version is built anew. */
function sourcesHash(): string {
  const hash = createHash('sha256')
  for (const file of globSync('**/*.{xml,java}', { cwd: sources }).sort())
    hash.update(`${file}\0`).update(readFileSync(join(sources, file)))
  return hash.digest('hex').slice(0, 12)
}

/** Java as Kafka itself is started here. Throws TENANTRY_PEER_NOT_BUILT where there is none. */
export function javaProgram(): string {
  const home = process.env['JAVA_HOME']
  const own = join(home ?? '', 'bin/java')
  const program = home !== undefined && existsSync(own) ? own : onPath('java')
  if (program !== undefined) return program
  throw notBuilt('Java was not found: apt-get install openjdk-17-jdk-headless', {})
}

/** What a module's poms pin, and the Java that runs it. */
export function versionsOf(module: JavaModule): Readonly<Record<string, string>> {
  const versions: Record<string, string> = {}
  for (const folder of ['shared', module]) {
    const pom = readFileSync(join(sources, folder, 'pom.xml'), 'utf8')
    const pattern = /<groupId>([^<]+)<\/groupId>\s*<artifactId>([^<]+)<\/artifactId>\s*<version>([^<]+)<\/version>/g
    for (const [, group, artifact, version] of pom.matchAll(pattern))
      if (group !== 'tenantry.peers' && artifact !== undefined && version !== undefined) versions[artifact] = version
  }
  const said = spawnSync(javaProgram(), ['--version'], { encoding: 'utf8' }).stdout
  return { ...versions, java: said.split('\n', 1)[0] ?? '' }
}

function notBuilt(reason: string, facts: Readonly<Record<string, string>>): TenantryError {
  return new TenantryError('TENANTRY_PEER_NOT_BUILT', `The Java peers cannot be built or run: ${reason}.`, facts)
}
