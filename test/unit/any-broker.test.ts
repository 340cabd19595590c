import { once } from 'node:events'
import { createServer } from 'node:net'
import type { ClusterMetadata } from '@platformatic/kafka'
import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import { AnyBroker } from '../../core/kafka/any-broker.ts'
import { test } from '../harness.ts'
import { eventually } from '../services.ts'

/** A port at which nobody listens any more, or a broker that takes connections. */
async function broker(): Promise<{ readonly port: number; connections: number; close(): Promise<unknown> }> {
  const server = createServer((socket) => {
    found.connections++
    socket.destroy()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const found = {
    port: typeof address === 'object' ? (address?.port ?? 0) : 0,
    connections: 0,
    close: () => once(server.close(), 'close'),
  }
  return found
}

test('a client that was idle while all brokers were replaced finds those that another one has learned of', async () => {
  const old = await Promise.all([broker(), broker(), broker()])
  const fresh = await broker()
  const connection = { bootstrap: old.map(({ port }) => `127.0.0.1:${port}`), clientId: 'test' }
  const [busy, idle] = [new AnyBroker(connection, systemClock), new AnyBroker(connection, systemClock)]
  for (const one of old) await one.close()
  busy.learn(cluster(fresh.port))
  await eventually(async () => {
    await idle.ask((client) => client.metadata({ topics: [], forceUpdate: true, retries: 0 })).catch(() => {})
    return fresh.connections > 0
  })
  assert.is(
    old.reduce((sum, { connections }) => sum + connections, 0),
    0,
  )
  await Promise.all([busy.close(), idle.close(), fresh.close()])
})

function cluster(port: number): ClusterMetadata {
  const brokers = new Map([[4, { host: '127.0.0.1', port, rack: null }]])
  return { id: 'cluster', brokers, topics: new Map(), lastUpdate: 0, controllerId: 4 }
}
