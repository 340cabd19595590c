// Kafka's jars, through Maven. They run on the machine's own Java.
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onPath, root, toolsFolder } from './paths.mjs'
import { run } from './run.mjs'
import { step, SetupError } from './say.mjs'

const folder = join(toolsFolder, 'kafka-4.4.0')

export function kafkaReady() {
  return existsSync(join(folder, 'complete'))
}

/** Says at once what is missing, before a minute has gone into the rest of set-up. */
export function checkKafkaTools() {
  if (!onPath('java') && !existsSync(join(process.env.JAVA_HOME || '', 'bin/java'))) {
    throw new SetupError('Java was not found, and Kafka runs on it: apt-get install openjdk-17-jre-headless maven, then run again.')
  }
  if (!kafkaReady() && !onPath('mvn')) {
    throw new SetupError('Maven (mvn) was not found, and Kafka is fetched with it: apt-get install maven, then run again.')
  }
}

/** Fetches the jars unless they are there. */
export async function ensureKafka() {
  if (kafkaReady()) return
  checkKafkaTools()
  await step('Kafka 4.4.0 (Maven)', async () => {
    const temporary = `${folder}.tmp${process.pid}`
    const { code } = await run('mvn', ['-q', '-B', '-ntp', '-f', join(root, 'tools/kafka-pom.xml'), 'dependency:copy-dependencies', `-DoutputDirectory=${temporary}`])
    if (code !== 0 || !existsSync(temporary) || !readdirSync(temporary).some((name) => name.startsWith('kafka_'))) {
      rmSync(temporary, { recursive: true, force: true })
      throw new SetupError('Maven could not fetch Kafka: the last lines of .tools/setup.log say why; put it right and run again.')
    }
    writeFileSync(join(temporary, 'complete'), '')
    rmSync(folder, { recursive: true, force: true })
    renameSync(temporary, folder)
  })
}
