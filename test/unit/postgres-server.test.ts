import { createServer } from 'node:net'
import * as assert from 'uvu/assert'
import { codeOf } from '../../core/errors.ts'
import { LaneConnection } from '../../core/postgres/lane-connection.ts'
import { requireServer } from '../../core/postgres/server.ts'
import { withSession } from '../../core/postgres/session.ts'
import { test } from '../harness.ts'

function saidOf(server: string, number: number, from = 'client'): string {
  try {
    requireServer({ server, server_number: number, settings_from: from })
    return ''
  } catch (error) {
    return `${codeOf(error)} ${String(error)}`
  }
}

test('a server that is too old is named with its version and the least one', () => {
  assert.match(saidOf('16.14', 160_014), /^TENANTRY_POSTGRES_VERSION .*PostgreSQL 16\.14.* needs 17 or later/)
  assert.is(saidOf('17.0', 170_000), '')
  assert.is(saidOf('18.4', 180_004), '')
})

test('a pooler that drops settings is told from one that sets them by itself', () => {
  for (const from of ['default', 'configuration file', 'user', 'database'])
    assert.match(saidOf('18.4', 180_004, from), /^TENANTRY_POSTGRES_POOLED /)
  assert.is(saidOf('18.4', 180_004, 'session'), '')
})

test('a pooler that refuses settings is said to be one, to lanes and to commands; both are without a time limit if they ask for none', async () => {
  const refusal = fatal('08P01', 'unsupported startup parameter: array_nulls')
  const settings: string[][] = []
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (startup) => {
      settings.push(startup.toString('utf8', 8).split('\0'))
      socket.end(refusal)
    })
  })
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : 0)
    })
  })
  const url = `postgres://nobody@127.0.0.1:${port}/none`
  const limits = { connectTimeoutMs: 5_000, statementTimeoutMs: 0, lockTimeoutMs: 0, transactionTimeoutMs: 0 }
  assert.is(await LaneConnection.open(url, 'pooled', limits).then(() => 'opened', codeOf), 'TENANTRY_POSTGRES_POOLED')
  const session = withSession(url, { name: 'pooled', statementMs: 0 }, (sql) => sql`select`)
  assert.is(await session.then(() => 'opened', codeOf), 'TENANTRY_POSTGRES_POOLED')
  server.close()
  // What a role has set must not end what may take as long as it likes.
  assert.equal(
    settings.map((asked) => asked[asked.indexOf('statement_timeout') + 1]),
    ['2147483647', '2147483647'],
  )
})

/** PostgreSQL's ErrorResponse. */
function fatal(code: string, message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`)
  const head = Buffer.alloc(5)
  head.write('E')
  head.writeInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
}
