import { createServer, type Socket } from 'node:net'
import { MultipleErrors, ProtocolError } from '@platformatic/kafka'
import * as assert from 'uvu/assert'
import { systemClock } from '../../core/clock.ts'
import { codeOf } from '../../core/errors.ts'
import { failure } from '../../core/kafka/consumer-membership.ts'
import { requireConsumerProtocol } from '../../core/kafka/required-protocol.ts'
import { test } from '../harness.ts'

const apiVersions = 18
const consumerGroupHeartbeat = 68

test('brokers without the group protocol are told from those that have it', async () => {
  assert.is(await saidBy([]), 'TENANTRY_KAFKA_PROTOCOL')
  // As in Kafka's previews of it.
  assert.is(await saidBy([[consumerGroupHeartbeat, 0, 0]]), 'TENANTRY_KAFKA_PROTOCOL')
  assert.is(await saidBy([[consumerGroupHeartbeat, 0, 1]]), '')
})

test('brokers that are set to do without the group protocol say so when it is used', () => {
  const refused = new ProtocolError('UNSUPPORTED_VERSION')
  assert.is(failure(refused).code, 'TENANTRY_KAFKA_PROTOCOL')
  assert.is(failure(new MultipleErrors('wrapped', [refused])).code, 'TENANTRY_KAFKA_PROTOCOL')
})

type Offered = readonly (readonly [api: number, min: number, max: number])[]

/** The code that a broker's offer leads to; '' for none. */
async function saidBy(offered: Offered): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    // A request that asks what is spoken comes in one piece: length, API, version, correlation id …
    socket.on('data', (request) => socket.write(answer(request.readInt32BE(8), [[apiVersions, 0, 3], ...offered])))
  })
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : 0)
    })
  })
  try {
    return await requireConsumerProtocol({ bootstrap: [`127.0.0.1:${port}`], clientId: 'test' }, systemClock).then(
      () => '',
      codeOf,
    )
  } finally {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
}

/** ApiVersions' response of version 3: no error, a compact array of the APIs, no throttling, no tags. */
function answer(correlationId: number, offered: Offered): Buffer {
  const body = Buffer.alloc(4 + 2 + 1 + offered.length * 7 + 4 + 1)
  body.writeInt32BE(correlationId)
  body.writeUInt8(offered.length + 1, 6)
  for (const [i, api] of offered.entries())
    for (const [j, number] of api.entries()) body.writeInt16BE(number, 7 + i * 7 + j * 2)
  const length = Buffer.alloc(4)
  length.writeInt32BE(body.length)
  return Buffer.concat([length, body])
}
