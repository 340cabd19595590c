import { request } from 'node:http'
import { connect } from 'node:net'
import * as assert from 'uvu/assert'
import type { StuckQuery, StuckReport } from '../../core/stuck-report.ts'
import { silentLog } from '../../core/log.ts'
import { HttpServer, type HttpServerOptions } from '../../supervisors/http.ts'
import { afterEach, test } from '../harness.ts'

let running: HttpServer[] = []
let state = { ready: true, reasons: [] as string[] }
let alive = true
let asked: StuckQuery[] = []
const nothingStuck: StuckReport = {
  at: new Date(0).toISOString(),
  reasons: [],
  longerThanMs: 5_000,
  tenants: [],
  moreTenants: 0,
  partitions: [],
  morePartitions: 0,
  assigned: 3,
}

async function served(options: Partial<HttpServerOptions> = {}): Promise<string> {
  const server = new HttpServer({
    host: '127.0.0.1',
    port: 0,
    allowedHosts: [],
    ready: () => state,
    live: () => alive,
    metrics: async () => 'tenantry_ready 1\n',
    stuck: (query) => {
      asked.push(query)
      return nothingStuck
    },
    log: silentLog,
    ...options,
  })
  running.push(server)
  await server.start()
  return server.url
}

afterEach(async () => {
  await Promise.all(running.map((server) => server.stop()))
  running = []
  state = { ready: true, reasons: [] }
  alive = true
  asked = []
})

/** One request with headers that fetch would not send. */
function get(url: string, headers: Record<string, string>, method = 'GET'): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { headers, method }, (answer) => {
      answer.resume()
      answer.on('end', () => resolve(answer.statusCode ?? 0))
    })
    sent.on('error', reject)
    sent.end()
  })
}

/** What a raw connection gets back until the server closes it. */
function raw(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    let answer = ''
    const socket = connect(Number(port), hostname, () => socket.write(text))
    socket.on('data', (data) => {
      answer += data.toString()
    })
    socket.on('close', () => resolve(answer))
    socket.on('error', reject)
  })
}

test('a ready daemon answers 200, one that is not answers 503 with its reasons', async () => {
  const url = await served()
  const ready = await fetch(`${url}/health/ready`)
  assert.is(ready.status, 200)
  assert.equal(await ready.json(), { ready: true, reasons: [] })
  state = { ready: false, reasons: ['postgres: waiting for postgres://me:hunter2@db/x'] }
  const waiting = await fetch(`${url}/health/ready`)
  assert.is(waiting.status, 503)
  assert.equal(await waiting.json(), { ready: false, reasons: ['postgres: waiting for postgres://me:********@db/x'] })
})

test('a daemon that waits for a server is alive, one that only a restart can help is not', async () => {
  const url = await served()
  state = { ready: false, reasons: ['kafka is away'] }
  assert.is((await fetch(`${url}/health/live`)).status, 200)
  alive = false
  assert.is((await fetch(`${url}/health/live`)).status, 503)
})

test('metrics come as text for Prometheus and are not cached', async () => {
  const answer = await fetch(`${await served()}/metrics`)
  assert.is(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
  assert.is(answer.headers.get('cache-control'), 'no-store')
  assert.is(await answer.text(), 'tenantry_ready 1\n')
})

test('metrics that fail are a 500 without details', async () => {
  const url = await served({ metrics: () => Promise.reject(new Error('SECRET-1')) })
  const answer = await fetch(`${url}/metrics`)
  assert.is(answer.status, 500)
  assert.not((await answer.text()).includes('SECRET'))
})

test('what is stuck is asked for with a question that is bounded, and refused where it is none', async () => {
  const url = await served()
  assert.equal(await (await fetch(`${url}/stuck`)).json(), nothingStuck)
  await fetch(`${url}/stuck?tenant=a%26b&group=g&limit=9999999&longerThanMs=0`)
  assert.equal(asked, [
    { longerThanMs: 5_000, limit: 50 },
    { longerThanMs: 0, limit: 1_000, tenant: 'a&b', group: 'g' },
  ])
  for (const wrong of ['limit=-1', 'limit=1e3', 'longerThanMs=5s', 'tennant=a'])
    assert.is((await fetch(`${url}/stuck?${wrong}`)).status, 400, wrong)
  assert.is(await get(`${url}/stuck`, { host: 'evil.example' }), 421)
  assert.is(await get(`${url}/stuck`, {}, 'POST'), 405)
})

test('other paths are 404, also those that climb', async () => {
  const url = await served()
  for (const path of ['/', '/health', '/../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/metrics/..%00'])
    assert.is((await fetch(url + path)).status, 404, path)
})

test('methods that would change something are refused', async () => {
  const url = await served()
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'])
    assert.is(await get(`${url}/metrics`, {}, method), 405, method)
  assert.is(await get(`${url}/metrics`, {}, 'HEAD'), 200)
})

test('a request for a name that is not ours is refused, as one from a page in a browser would be', async () => {
  const url = await served({ allowedHosts: ['metrics.example'] })
  assert.is(await get(`${url}/metrics`, { host: 'evil.example' }), 421)
  assert.is(await get(`${url}/metrics`, { host: 'evil.example:9464' }), 421)
  for (const host of [
    'localhost',
    'localhost:1',
    '10.1.2.3:9464',
    '[::1]:9464',
    'metrics.example',
    'METRICS.example:80',
  ])
    assert.is(await get(`${url}/metrics`, { host }), 200, host)
})

test('a port that is taken is said so, with what to do', async () => {
  const { port } = new URL(await served())
  try {
    await served({ port: Number(port) })
    assert.unreachable()
  } catch (error) {
    assert.is(error instanceof Error && 'code' in error ? error.code : '', 'TENANTRY_HTTP_PORT_TAKEN')
    assert.match(error instanceof Error ? error.message : '', /set http\.port/)
  }
})

test('headers past the limit are refused', async () => {
  const answer = await raw(
    await served(),
    `GET /metrics HTTP/1.1\r\nhost: localhost\r\nx: ${'a'.repeat(100_000)}\r\n\r\n`,
  ).catch(() => 'reset')
  assert.match(answer, /^(HTTP\/1\.1 4\d\d|reset|$)/)
})

test('a body is not read, however large it says it is', async () => {
  const answer = await raw(
    await served(),
    'POST /metrics HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\nx',
  )
  assert.match(answer, /^HTTP\/1\.1 405/)
})

test('stopping ends open connections, and may be called twice and before a start', async () => {
  const url = await served()
  const [server] = running
  const { hostname, port } = new URL(url)
  const kept = connect(Number(port), hostname, () => kept.write('GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n'))
  await new Promise((resolve) => kept.once('data', resolve))
  const closed = new Promise((resolve) => kept.once('close', resolve))
  await Promise.all([server?.stop(), server?.stop()])
  await closed
  const never = new HttpServer({
    host: '127.0.0.1',
    port: 0,
    allowedHosts: [],
    ready: () => state,
    live: () => true,
    metrics: async () => '',
    stuck: () => nothingStuck,
    log: silentLog,
  })
  await never.stop()
  await never.start()
  await never.stop()
})
