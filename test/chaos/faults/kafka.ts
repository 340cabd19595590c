import { FindCoordinatorKeyTypes } from '@platformatic/kafka'
import type { Service } from '../../../cli/dev/service.ts'
import { eventually } from '../../services.ts'
import { withAdmin } from '../admin.ts'
import { type Fault, type Ground, last, lastBetween, nodes, seconds } from '../fault.ts'
import { moveLeaders } from '../leaders.ts'
import { doneBy, moved } from '../watch.ts'

/** What happens to the brokers. */
export const kafkaFaults: readonly Fault[] = [
  {
    name: 'broker-killed',
    area: 'kafka',
    about: 'SIGKILL of one broker, started again after up to 6 s',
    weight: 2,
    async strike(ground) {
      const node = ground.random.pick(nodes)
      const ms = await awayFor(ground, [ground.site.services.kafka(node)], 'SIGKILL', 6_000)
      return `broker ${node}, away for ${seconds(ms)}`
    },
  },
  {
    name: 'broker-told',
    area: 'kafka',
    about: 'SIGTERM of one broker, which hands its partitions over, and a start',
    async strike(ground) {
      const node = ground.random.pick(nodes)
      await ground.site.services.kafka(node).restart()
      return `broker ${node}`
    },
  },
  {
    name: 'broker-frozen',
    area: 'kafka',
    about: 'SIGSTOP of one broker past its session with the controllers, then SIGCONT',
    weight: 2,
    async strike(ground) {
      const node = ground.random.pick(nodes)
      const broker = ground.site.services.kafka(node)
      broker.pause()
      const ms = await lastBetween(ground, 2_000, 15_000)
      broker.resume()
      return `broker ${node} for ${seconds(ms)}`
    },
  },
  {
    name: 'broker-hangs',
    area: 'kafka',
    about: 'SIGSTOP of one broker until all partitions go on without it',
    async strike(ground) {
      const node = ground.random.pick(nodes)
      const broker = ground.site.services.kafka(node)
      broker.pause()
      try {
        const begun = performance.now()
        // What was on its way is done by then.
        await last(ground, 3_000)
        const { sql, topic } = ground.stage
        const patience = { deadlineMs: 60_000, every: 200, what: 'all partitions go on' }
        const before = await eventually(() => doneBy(sql, topic), patience)
        await eventually(async () => ground.signal.aborted || moved(before, await doneBy(sql, topic)), patience)
        return `broker ${node}, all went on after ${seconds(performance.now() - begun)}`
      } finally {
        broker.resume()
      }
    },
  },
  {
    name: 'coordinator-killed',
    area: 'kafka',
    about: "SIGKILL of the broker that coordinates the daemons' group",
    async strike(ground) {
      const node = await coordinatorOf(ground)
      const ms = await awayFor(ground, [ground.site.services.kafka(node)], 'SIGKILL', 6_000)
      return `broker ${node}, away for ${seconds(ms)}`
    },
  },
  {
    name: 'brokers-mostly-away',
    area: 'kafka',
    about: 'SIGKILL of two brokers of three for 2 to 12 s: no partition has its in-sync copies',
    async strike(ground) {
      const stays = ground.random.pick(nodes)
      const away = nodes.filter((node) => node !== stays)
      const brokers = away.map((node) => ground.site.services.kafka(node))
      const ms = await awayFor(ground, brokers, 'SIGKILL', 12_000, 2_000)
      return `all but broker ${stays} away for ${seconds(ms)}`
    },
  },
  {
    name: 'leaders-moved',
    area: 'kafka',
    about: "every partition led by another broker, and the group's coordinator another one, while all brokers live",
    weight: 2,
    async strike(ground) {
      const way = ground.random.pick(['election', 'reassignment'] as const)
      const times = ground.random.between(1, 3)
      let leaders = 0
      for (let i = 0; i < times && !ground.signal.aborted; i++) {
        leaders += await moveLeaders(ground, way)
        await lastBetween(ground, 0, 1_000)
      }
      return `${leaders} by ${way}`
    },
  },
  {
    name: 'brokers-frozen',
    area: 'kafka',
    about: 'SIGSTOP of two brokers of three for up to 12 s',
    async strike(ground) {
      const stays = ground.random.pick(nodes)
      const brokers = nodes.filter((node) => node !== stays).map((node) => ground.site.services.kafka(node))
      for (const broker of brokers) broker.pause()
      const ms = await lastBetween(ground, 2_000, 12_000)
      for (const broker of brokers) broker.resume()
      return `all but broker ${stays} for ${seconds(ms)}`
    },
  },
]

async function awayFor(
  ground: Ground,
  brokers: readonly Service[],
  signal: NodeJS.Signals,
  most: number,
  least = 0,
): Promise<number> {
  await Promise.all(brokers.map((broker) => broker.kill(signal)))
  const ms = await lastBetween(ground, least, most)
  await Promise.all(brokers.map((broker) => broker.start()))
  return ms
}

function coordinatorOf(ground: Ground): Promise<number> {
  return withAdmin(ground, async (admin) => {
    const [found] = await admin.findCoordinator({
      keyType: FindCoordinatorKeyTypes.GROUP,
      keys: [ground.stage.topic],
    })
    return found?.nodeId ?? 1
  })
}
