// runtimes: node, bun
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import * as assert from 'uvu/assert'
import { type Clock, systemClock } from '../../core/clock.ts'
import { Control } from '../../core/postgres/control.ts'
import { codeOf } from '../../core/errors.ts'
import { TcpProxy } from '../chaos/tcp-proxy.ts'
import { collecting, collector } from '../garbage.ts'
import { afterEach, test } from '../harness.ts'
import { ManualClock } from '../manual-clock.ts'
import { postgresAddress } from '../services.ts'

const limits = { connectTimeoutMs: 1_000, lockTimeoutMs: 1_000, transactionTimeoutMs: 10_000 }
const ends: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

function control(port: number, clock: Clock = systemClock): Control {
  const url = new URL(postgresAddress())
  url.host = `127.0.0.1:${port}`
  const made = new Control({ url: url.href, name: 'test control', limits, clock })
  ends.push(() => made.close())
  return made
}

/** A port where something else than PostgreSQL answers, and how often it was connected to. */
async function impostor(serve: (socket: Socket) => void): Promise<{ readonly port: number; connections: number }> {
  const server = createServer((socket) => {
    found.connections++
    socket.on('error', () => {})
    serve(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const found = { port: typeof address === 'object' ? (address?.port ?? 0) : 0, connections: 0 }
  ends.push(async () => server.close())
  return found
}

async function failureOf(answer: Promise<unknown>): Promise<string> {
  try {
    await answer
  } catch (error) {
    return codeOf(error)
  }
  throw new Error('it was answered')
}

test('a statement that comes while its connection ends for want of use goes over another', async () => {
  const clock = new ManualClock()
  const ask = control(Number(new URL(postgresAddress()).port), clock).asking(10_000)
  const pidOf = async () => (await ask<{ pid: number }[]>`select pg_backend_pid() as pid`)[0]?.pid
  const first = await pidOf()
  const minute = clock.pass(60_000)
  // The timer has rung by then, and the server has not been heard of yet.
  await new Promise((resolve) => setImmediate(resolve))
  const second = await pidOf()
  await minute
  assert.type(second, 'number')
  assert.is.not(second, first)
})

test('a statement on a connection that the other end has forgotten fails in time, and the next goes over a new one', async () => {
  const { hostname, port } = new URL(postgresAddress())
  const between = await TcpProxy.open()
  ends.push(() => between.close())
  between.lead(hostname, Number(port))
  const ask = control(between.port).asking(500)
  const pidOf = async () => (await ask<{ pid: number }[]>`select pg_backend_pid() as pid`)[0]?.pid
  const first = await pidOf()
  between.deaden()
  assert.is(await failureOf(ask`select 1`), 'TENANTRY_POSTGRES_SILENT')
  assert.is.not(await pidOf(), first)
})

test('what ends every connection at once is connected to once a statement, which fails', async () => {
  const found = await impostor((socket) => socket.end())
  const ask = control(found.port).asking(5_000)
  assert.ok(await failureOf(ask`select 1`))
  assert.ok(await failureOf(ask`select 1`))
  assert.is(found.connections, 2)
})

test('what greets as PostgreSQL does and then says nothing more fails a statement in time', async () => {
  const found = await impostor((socket) => {
    // Authentication is done; ready for a query.
    socket.once('data', () => socket.write(Buffer.from('R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I', 'latin1')))
  })
  const ask = control(found.port).asking(5_000)
  assert.is(await failureOf(ask`select 1`), 'TENANTRY_POSTGRES_TIMEOUT')
})

test('more statements than connections wait for their turn, and all are answered', async () => {
  const ask = control(Number(new URL(postgresAddress()).port)).asking(5_000)
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) => ask<{ n: number }[]>`select ${n}::integer as n, pg_sleep(0.01)`),
  )
  assert.equal(
    answers.map(([row]) => row?.n),
    Array.from({ length: 20 }, (_, n) => n),
  )
})

collecting('an answer is let go, however long its connection lives', async () => {
  const collect = collector()
  const ask = control(Number(new URL(postgresAddress()).port)).asking(5_000)
  const answers: WeakRef<object>[] = []
  for (let i = 0; i < 200; i++) answers.push(new WeakRef(await ask`select ${i}::integer as i`))
  // A turn keeps what it has made a WeakRef of.
  await new Promise((resolve) => setImmediate(resolve))
  collect()
  const kept = answers.filter((answer) => answer.deref() !== undefined).length
  assert.ok(kept < 10, `${kept} of ${answers.length} answers are kept`)
})
