import { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { connectionOf, topicSpecsOf } from '../core/config/kafka-connection.ts'
import { checkSpecs } from '../core/kafka/topic-spec.ts'
import type { TopicDifference } from '../core/kafka/topics.ts'
import { formatDuration } from '../core/config/units.ts'
import { exitCode } from './exit.ts'
import { counted, data, json, say, table } from './output.ts'
import { settingsOf, wantsJson } from './settings.ts'

/** `tenantry topics plan|apply`. */
export function topicsCommand(): Command {
  const topics = new Command('topics').description('the topics that the configuration wants')
  const small = 'no more copies than brokers are configured, for a small cluster'

  topics
    .command('plan')
    .description('show how the cluster differs from the configuration; changes nothing')
    .option('--dev', small)
    .option('--json', 'print one JSON array')
    .action(async (flags: { readonly dev?: boolean }, command: Command) => {
      const { connection, specs } = wanted(command, flags)
      const { compareTopics } = await import('../core/kafka/topics.ts')
      const differences = await compareTopics(connection, systemClock, specs)
      if (wantsJson(command)) return json(differences)
      if (differences.length === 0) say(`As configured: ${counted(specs.length, 'topic')}.`)
      else data(table(differences.map((difference) => [...row(difference)])))
      if (differences.some(({ kind }) => kind !== 'refused'))
        say('`tenantry topics apply` makes these changes; it never deletes a topic, a partition or a record.')
    })

  topics
    .command('apply')
    .description(
      'create topics, add partitions, change settings; never deletes or shrinks. Exits with 6 when something was refused',
    )
    .option('--dev', small)
    .option('--json', 'print one JSON array of what was done and what was refused')
    .action(async (flags: { readonly dev?: boolean }, command: Command) => {
      const { connection, specs } = wanted(command, flags)
      const { applyTopics } = await import('../core/kafka/topics.ts')
      const differences = await applyTopics(connection, systemClock, specs)
      const refused = differences.filter(({ kind }) => kind === 'refused').length
      if (wantsJson(command)) json(differences)
      else if (differences.length > 0) data(table(differences.map((difference) => [...row(difference)])))
      const made = counted(differences.length - refused, 'change')
      say(`${made} made, ${refused} refused; of ${counted(specs.length, 'topic')} that the configuration has.`)
      if (refused > 0) process.exitCode = exitCode('partial')
    })

  return topics
}

function wanted(command: Command, { dev = false }: { readonly dev?: boolean }) {
  const { config } = settingsOf(command, ['kafka'])
  const specs = dev ? topicSpecsOf(config, config.kafka.brokers.length) : topicSpecsOf(config)
  checkSpecs(specs)
  return { connection: connectionOf(config), specs }
}

function row(difference: TopicDifference): readonly string[] {
  const { topic } = difference
  if (difference.kind === 'create') {
    const { partitions, replicationFactor, minInSyncReplicas, retentionMs } = difference.spec
    const retention = retentionMs === -1 ? 'forever' : formatDuration(retentionMs)
    return [
      '+ create',
      topic,
      `${partitions} partitions, ${replicationFactor} copies (${minInSyncReplicas} in sync), kept ${retention}`,
    ]
  }
  if (difference.kind === 'partitions') return ['~ grow', topic, `partitions ${difference.from} -> ${difference.to}`]
  const { setting, from, to } = difference
  if (difference.kind === 'config') return ['~ set', topic, `${setting} ${from || '(unset)'} -> ${to}`]
  return ['! refused', topic, `${setting} ${from} -> ${to}: ${difference.reason}`]
}
