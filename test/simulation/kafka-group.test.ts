import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { EventLoop } from './event-loop.ts'
import { KafkaCluster } from './kafka-cluster.ts'
import { KafkaGroup } from './kafka-group.ts'
import { SeededRandom } from './seeded-random.ts'

test('a topic that comes again with fewer partitions takes the others from their owner, once', () => {
  const loop = new EventLoop((error) => {
    throw error
  })
  const cluster = new KafkaCluster(loop, new SeededRandom('cluster'))
  cluster.create('orders', 2)
  const group = new KafkaGroup({
    name: 'group',
    topics: ['orders'],
    loop,
    cluster,
    random: new SeededRandom('group'),
    protocol: 'consumer',
    sessionMs: 1_000,
    hooks: { committed: () => undefined },
  })
  const member = group.join()
  group.heartbeat(member, [])
  const lacked = { topic: 'orders', partition: 1 }
  assert.is(group.ownerOf(lacked), member)

  cluster.recreate('orders', 1)
  group.rebalance(false)
  assert.equal(group.heartbeat(member, []), { kind: 'member', assign: [], revoke: [lacked] })
  assert.equal(group.heartbeat(member, []), { kind: 'member', assign: [], revoke: [] })
  group.heartbeat(member, [lacked])
  assert.is(group.ownerOf(lacked), undefined)
})
