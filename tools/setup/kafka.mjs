// Kafka's jars, through Maven, in the user's cache. They run on the machine's own Java.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { ensureArchive } from './kafka-archive.mjs'
import { cacheFolder, onPath, root, toolsFolder } from './paths.mjs'
import { run } from './run.mjs'
import { step, SetupError } from './say.mjs'

const name = 'kafka-4.4.0'
const folder = join(cacheFolder, name)
/** Where the rest of tenantry looks for them. */
const link = join(toolsFolder, name)

export function kafkaReady() {
  return existsSync(join(link, 'complete'))
}

/** Says at once what is missing, before a minute has gone into the rest of set-up. */
export function checkKafkaTools() {
  if (!javaProgram()) {
    throw new SetupError(
      'Java was not found, and Kafka runs on it: apt-get install openjdk-17-jre-headless maven, then run again.',
    )
  }
  if (!kafkaReady() && !existsSync(join(folder, 'complete')) && !onPath('mvn')) {
    throw new SetupError(
      'Maven (mvn) was not found, and Kafka is fetched with it: apt-get install maven, then run again.',
    )
  }
}

function javaProgram() {
  const own = join(process.env.JAVA_HOME || '', 'bin/java')
  return process.env.JAVA_HOME && existsSync(own) ? own : onPath('java')
}

/** Kafka 4 needs Java 17: an older one would only say UnsupportedClassVersionError in a log. */
async function checkJavaVersion() {
  const { stdout } = await run('sh', ['-c', '"$0" -version 2>&1', javaProgram()], { capture: true })
  const version = /version "(?:1\.)?(\d+)/.exec(stdout)
  if (version && Number(version[1]) < 17) {
    throw new SetupError(
      `Kafka needs Java 17 or later, and this machine has ${version[1]}: apt-get install openjdk-17-jre-headless, or set JAVA_HOME, then run again.`,
    )
  }
}

/** Fetches the jars unless they are there. */
export async function ensureKafka() {
  if (kafkaReady()) return
  checkKafkaTools()
  await checkJavaVersion()
  if (!existsSync(join(folder, 'complete'))) await step('Kafka 4.4.0 (Maven)', fetchJars)
  await ensureArchive(javaProgram(), realpathSync(folder))
  mkdirSync(dirname(link), { recursive: true })
  rmSync(link, { recursive: true, force: true })
  symlinkSync(folder, link)
}

async function fetchJars() {
  const temporary = `${folder}.tmp${process.pid}`
  const args = [
    '-q',
    '-B',
    '-ntp',
    '-f',
    join(root, 'tools/kafka-pom.xml'),
    'dependency:copy-dependencies',
    `-DoutputDirectory=${temporary}`,
  ]
  let { code } = await run('mvn', args)
  // A user without a home folder has no place for Maven's own repository.
  if (code !== 0) ({ code } = await run('mvn', [...args, `-Dmaven.repo.local=${join(toolsFolder, 'm2')}`]))
  if (code !== 0 || !existsSync(temporary) || !readdirSync(temporary).some((file) => file.startsWith('kafka_'))) {
    rmSync(temporary, { recursive: true, force: true })
    throw new SetupError(
      'Maven could not fetch Kafka: the last lines of .tools/setup.log say why; put it right and run again.',
    )
  }
  writeFileSync(join(temporary, 'complete'), '')
  try {
    renameSync(temporary, folder)
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    if (!existsSync(join(folder, 'complete'))) throw error // else another checkout was quicker
  }
}
