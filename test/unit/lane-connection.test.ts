import { createServer, type Socket } from 'node:net'
import * as assert from 'uvu/assert'
import { messageOf } from '../../core/errors.ts'
import { LaneConnection } from '../../core/postgres/lane-connection.ts'
import { test } from '../harness.ts'

test('a server that takes the connection and says nothing is named with its address', async () => {
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket.resume().on('error', () => {})))
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : 0)
    })
  })
  const limits = { connectTimeoutMs: 200, statementTimeoutMs: 200, lockTimeoutMs: 200, transactionTimeoutMs: 200 }
  const opening = LaneConnection.open(`postgres://nobody@127.0.0.1:${port}/none`, 'silent', limits)
  const said = await opening.then(() => 'it opened', messageOf)
  assert.match(said, `127.0.0.1:${port}`)
  for (const socket of sockets) socket.destroy()
  server.close()
})
