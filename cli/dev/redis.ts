import { mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { redisProgram } from './programs.ts'
import { createService, type Service } from './service.ts'

/** What the server is set to: a cache, so nothing of it is kept. compose/compose.yml has the same; a test compares. */
export const redisSettings: Readonly<Record<string, string>> = {
  save: '',
  appendonly: 'no',
  'maxmemory-policy': 'noeviction',
}

export interface RedisOptions {
  readonly dir: string
  readonly port: number
  readonly keep: boolean
}

export function redisService(options: RedisOptions): Service {
  const folder = join(options.dir, 'redis')
  return createService({
    name: 'redis',
    dir: options.dir,
    ports: [options.port],
    settings: JSON.stringify(redisSettings),
    async prepare() {
      mkdirSync(folder, { recursive: true })
    },
    program() {
      const program = redisProgram()
      const settings = Object.entries(redisSettings).flatMap(([key, value]) => [`--${key}`, value])
      // Its title would otherwise be written over its environment, where the mark of its run stands.
      const own = ['--port', String(options.port), '--bind', '127.0.0.1', '--dir', folder, '--set-proc-title', 'no']
      return { ...program, args: [...program.args, ...own, ...settings] }
    },
    probe: () => ping(options.port),
    stopSignal: 'SIGTERM',
    startTimeoutMs: 20_000,
    keep: options.keep,
  })
}

export function redisUrl(port: number): string {
  return `redis://127.0.0.1:${port}`
}

function ping(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', timeout: 2_000 })
    const fail = (error: Error) => {
      socket.destroy()
      reject(error)
    }
    socket.once('error', fail)
    socket.once('timeout', () => fail(new Error('no answer to PING')))
    socket.once('data', (answer) => {
      socket.destroy()
      if (answer.toString('latin1').startsWith('+PONG')) resolve()
      else reject(new Error('another server answers on this port'))
    })
    socket.write('PING\r\n')
  })
}
