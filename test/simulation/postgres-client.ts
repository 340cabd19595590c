import type { Process } from './event-loop.ts'
import { type Backend, type PostgresServer, ServerError, type Statement, type Transaction } from './postgres-server.ts'

/** What a daemon has of PostgreSQL: connections, as its network allows. */
export class PostgresClient {
  readonly server: PostgresServer
  readonly process: Process
  /** Until then, in virtual ms, this daemon reaches nobody. */
  cutUntil = 0

  constructor(server: PostgresServer, process: Process) {
    this.server = server
    this.process = process
  }

  get reached(): boolean {
    return !this.server.away && this.server.loop.now >= this.cutUntil
  }

  /** Rejects with a ServerError when PostgreSQL cannot be reached. */
  connect(): Promise<Backend> {
    const { loop, random } = this.server
    return new Promise((resolve, reject) => {
      if (this.process.state === 'dead') return
      loop.after(
        random.delay(2),
        'connect',
        () => {
          if (this.reached) resolve(this.server.open(this.process))
          else reject(new ServerError('08006', 'cannot connect to PostgreSQL'))
        },
        this.process,
      )
    })
  }

  /** Cuts every connection of this daemon; what is in the sockets may still be read. */
  cut(forMs: number): void {
    const { loop, backends, random } = this.server
    this.cutUntil = Math.max(this.cutUntil, loop.now + forMs)
    for (const backend of [...backends]) if (backend.client === this.process) backend.cut(random.below(9))
  }

  /** One statement in a transaction of its own, on a connection of its own. Rejects with a ServerError. */
  async once<T>(
    label: string,
    statement: { locks?: readonly string[]; lockTimeoutMs?: number; run: (tx: Transaction) => T | ServerError },
  ): Promise<T> {
    const backend = await this.connect()
    const { chaos } = this.server
    return new Promise<T>((resolve, reject) => {
      let result: T | undefined
      let failed: ServerError | null = null
      backend.onClosed = () => reject(new ServerError('', `the connection was closed (${label})`))
      const asked: Statement = {
        point: null,
        locks: () => statement.locks ?? [],
        ...(statement.lockTimeoutMs !== undefined && { lockTimeoutMs: statement.lockTimeoutMs }),
        run: (tx) => {
          if (chaos.happens('infrastructure error')) return new ServerError('53200', 'out of memory')
          const answer = statement.run(tx)
          if (answer instanceof ServerError) return answer
          result = answer
          return null
        },
        answer: (error) => {
          failed ??= error
        },
      }
      const end: Statement = {
        point: null,
        locks: () => [],
        run: () => null,
        ends: 'commit',
        answer: (error) => {
          const wrong = failed ?? error
          backend.onClosed = null
          backend.cut(0)
          if (wrong) reject(wrong)
          else if (result !== undefined) resolve(result)
          else reject(new ServerError('', `no answer (${label})`))
        },
      }
      backend.send([asked, end])
    })
  }
}
