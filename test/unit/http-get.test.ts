// runtimes: node, bun
import { createServer, type Server } from 'node:http'
import * as assert from 'uvu/assert'
import { httpGet } from '../../core/http-get.ts'
import { after, before, test } from '../harness.ts'

let server: Server
let url = ''
const asked: (string | undefined)[] = []

before(async () => {
  server = createServer((request, answer) => {
    asked.push(request.url)
    if (request.url === '/silent') return
    if (request.url === '/elsewhere') answer.writeHead(302, { location: '/' })
    answer.end(`für ${request.url}`)
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const address = server.address()
  if (typeof address === 'object') url = `http://127.0.0.1:${address?.port}`
})

after(() => {
  server.closeAllConnections()
  server.close()
})

test('an address of this machine is asked directly, whatever proxy the environment names', async () => {
  for (const name of ['http_proxy', 'HTTP_PROXY', 'ALL_PROXY']) process.env[name] = 'http://127.0.0.1:1'
  assert.equal(await httpGet(`${url}/health`, 5_000), { status: 200, text: 'für /health' })
  assert.equal(asked, ['/health'], 'the path, not the whole address as a proxy has it')
})

test('a redirect is not followed', async () => {
  assert.is((await httpGet(`${url}/elsewhere`, 5_000)).status, 302)
})

test('who does not answer in time, or is not there, is an error that says so', async () => {
  const failure = async (address: string, timeoutMs: number) => {
    try {
      await httpGet(address, timeoutMs)
    } catch (error) {
      if (error instanceof Error) return 'code' in error && typeof error.code === 'string' ? error.code : error.name
    }
    return 'no error'
  }
  assert.is(await failure('http://127.0.0.1:1/', 5_000), 'ECONNREFUSED')
  const error = await httpGet(`${url}/silent`, 50).catch((thrown: unknown) => thrown)
  assert.is(error instanceof Error && error.name, 'TimeoutError')
})
