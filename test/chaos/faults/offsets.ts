import { tmpdir } from 'node:os'
import { type Position, positionsOf } from '../../../tools/run/positions.ts'
import { eventually } from '../../services.ts'
import { runCli } from '../../spawn-cli.ts'
import { withAdmin } from '../admin.ts'
import { busy } from '../busy.ts'
import type { Fault, Ground } from '../fault.ts'

const patience = { deadlineMs: 120_000, every: 200 }
/** So many records of a partition run again at most. */
const farBack = 1_000

/** Operators move the group while there is work for it. */
export const offsetFaults: readonly Fault[] = [
  {
    name: 'offsets-reset',
    area: 'operators',
    about: '`tenantry offsets reset` of some partitions back, or of all on to the end, while daemons are at work',
    alone: true,
    strike(ground) {
      const { random } = ground
      return busy(ground, random.chance(0.5), () => (random.chance(0.7) ? resetBack(ground) : resetOn(ground)))
    },
  },
  {
    name: 'offsets-set',
    area: 'operators',
    about:
      "offsets of some partitions set back as Kafka's own tools do, while no daemon runs; then accepted or ignored",
    alone: true,
    async strike(ground) {
      const { crew, random } = ground
      await Promise.all(crew.members.map((member) => crew.dismiss(member)))
      const chosen = await chosenPartitions(ground)
      await setByTool(ground, chosen)
      const decided = random.pick(['before they start', 'while they wait'] as const)
      const decide = async () => {
        for (const { partition } of chosen) await run(ground, partition, ...random.pick(decisions))
      }
      if (decided === 'before they start') await decide()
      for (const member of crew.members) await crew.start(member)
      if (decided === 'while they wait') {
        await eventually(() => stopped(ground) === chosen.length, { ...patience, what: 'partitions that have stopped' })
        await decide()
      }
      return `${chosen.length} partitions, decided ${decided}`
    },
  },
]

const decisions: readonly [readonly string[], readonly string[]] = [['accept', '--rerun', '--yes'], ['ignore']]

async function resetBack(ground: Ground): Promise<string> {
  const chosen = await chosenPartitions(ground)
  for (const { partition, to } of chosen) await run(ground, partition, 'reset', '--to', String(to), '--rerun', '--yes')
  return `${chosen.length} partitions back`
}

/** Refused where somebody has just done what came after the end was asked for. */
async function resetOn(ground: Ground): Promise<string> {
  const on = async () => {
    await offsets(ground, 'reset', '--to', 'latest', '--skip', '--yes')
    return true
  }
  await eventually(on, patience)
  return 'all on to the end'
}

type Chosen = { readonly partition: number; readonly to: number }

/** Some partitions, at least one, and a position for each below all that is done of it and was written to Kafka. */
async function chosenPartitions({ stage, random }: Ground): Promise<readonly Chosen[]> {
  const all = await positionsOf(stage.sql, stage.topic)
  const written = all.filter(({ kafkaOffset }) => kafkaOffset > 0)
  const some = written.filter(() => random.chance(0.5))
  const one = random.any(written)
  const chosen = some.length > 0 || one === undefined ? some : [one]
  const back = ({ kafkaOffset }: Position) => Math.max(0, kafkaOffset - random.between(1, farBack))
  return chosen.map((position) => ({ partition: position.partition, to: back(position) }))
}

/** What `kafka-consumer-groups --reset-offsets` asks of Kafka, which refuses it while the group has a member. */
async function setByTool(ground: Ground, chosen: readonly Chosen[]): Promise<void> {
  const { topic } = ground.stage
  const partitionOffsets = chosen.map(({ partition, to }) => ({ partition, offset: BigInt(to) }))
  const set = () =>
    withAdmin(ground, async (admin) => {
      await admin.alterConsumerGroupOffsets({ groupId: topic, topics: [{ name: topic, partitionOffsets }] })
      return true
    })
  await eventually(set, { ...patience, what: 'an empty group' })
}

function stopped({ crew }: Ground): number {
  return crew.members.reduce((sum, { running }) => sum + (running?.events('partition.stopped').length ?? 0), 0)
}

function run(ground: Ground, partition: number, ...args: readonly string[]): Promise<void> {
  return offsets(ground, ...args, '--partition', String(partition))
}

async function offsets({ stage }: Ground, ...args: readonly string[]): Promise<void> {
  const { code, stderr } = await runCli(
    ['offsets', ...args, '--group', stage.topic, '--topic', stage.topic, '--reason', 'chaos', '--json'],
    { cwd: tmpdir(), env: { KAFKA_BROKERS: stage.kafka, DATABASE_URL: stage.database } },
  )
  if (code !== 0) throw new Error(`tenantry offsets ${args.join(' ')}: ${stderr.trim()}`)
}
