import type { Chaos } from './chaos.ts'
import type { EventLoop, Process } from './event-loop.ts'
import { Locks } from './postgres-locks.ts'
import { type Applied, type Change, Tables } from './postgres-tables.ts'
import type { Point } from './schedule.ts'
import type { SeededRandom } from './seeded-random.ts'

/** `code` is an SQLSTATE; '' says that the connection broke, so that nobody knows. */
export class ServerError extends Error {
  readonly code: string
  readonly detail: string

  constructor(code: string, message: string, detail = '') {
    super(message)
    this.code = code
    this.detail = detail
  }
}

/** A transaction as its own statements see it: what is committed, as of each statement, and what it will change. */
export type Transaction = { readonly tables: Tables; readonly changes: Change[] }

export type Statement = {
  readonly point: Point | null
  /** Taken in this order before it runs, and held to the transaction's end. */
  readonly locks: (tx: Transaction) => readonly string[]
  readonly lockTimeoutMs?: number
  /** Reads and changes; an error breaks the transaction. */
  readonly run: (tx: Transaction) => ServerError | null
  /** `commit` applies the transaction and ends it; so does `rollback` without applying. */
  readonly ends?: 'commit' | 'rollback'
  readonly answer: (error: ServerError | null) => void
}

export type ServerOptions = {
  readonly loop: EventLoop
  readonly random: SeededRandom
  readonly chaos: Chaos
  readonly applied: (applied: Applied) => void
}

const deadlockTimeoutMs = 200
/** Of a session that holds a transaction open and sends nothing. */
const idleInTransactionMs = 8_000

/** PostgreSQL: committed tables, locks and backends. */
export class PostgresServer {
  readonly loop: EventLoop
  readonly random: SeededRandom
  readonly chaos: Chaos
  readonly locks = new Locks<Backend>()
  readonly backends = new Set<Backend>()
  readonly history: Applied[] = []
  readonly #applied: (applied: Applied) => void
  tables = new Tables()
  #nextPid = 1
  #awayUntil = 0
  #ticks = 0

  constructor(options: ServerOptions) {
    this.loop = options.loop
    this.random = options.random
    this.chaos = options.chaos
    this.#applied = options.applied
  }

  get away(): boolean {
    return this.loop.now < this.#awayUntil
  }

  /** Its clock, which never says the same twice. */
  tick(): number {
    return ++this.#ticks
  }

  /** Ends every session and lets nobody in for a while. */
  goAway(forMs: number): void {
    this.#awayUntil = Math.max(this.#awayUntil, this.loop.now + forMs)
    for (const backend of [...this.backends]) backend.crash()
  }

  comeBack(): void {
    this.#awayUntil = 0
    for (const backend of [...this.backends]) backend.thaw()
  }

  /** The last `count` transactions are gone, as after the promotion of a standby that did not have them. */
  lose(count: number): readonly Applied[] {
    const kept = Math.max(0, this.history.length - count)
    const lost = this.history.splice(kept)
    this.tables = new Tables()
    for (const applied of this.history) this.tables.apply(applied)
    return lost
  }

  open(client: Process): Backend {
    const backend = new Backend(this, this.#nextPid++, client)
    this.backends.add(backend)
    return backend
  }

  apply(applied: Applied): void {
    this.history.push(applied)
    this.tables.apply(applied)
    this.#applied(applied)
  }
}

/** A session. It works through what its socket holds, whether or not somebody still listens. */
export class Backend {
  readonly pid: number
  readonly client: Process
  readonly #server: PostgresServer
  readonly #queue: Statement[] = []
  #tx: Transaction | null = null
  #broken: ServerError | null = null
  #frozen = false
  #terminating = false
  #ended = false
  #connected = true
  /** The network has broken: not even what was said before arrives. */
  #cutOff = false
  #busy = false
  #waiting = false
  #whenThawed: (() => void) | null = null
  #answeredAt = 0
  /** Raised whenever what is being done must not go on. */
  #turn = 0
  #idleSince = 0
  #begunAt = 0
  #begun = 0
  /** Called when the client can know that its connection has gone. */
  onClosed: (() => void) | null = null

  constructor(server: PostgresServer, pid: number, client: Process) {
    this.#server = server
    this.pid = pid
    this.client = client
  }

  get ended(): boolean {
    return this.#ended
  }

  get connected(): boolean {
    return this.#connected && !this.#ended
  }

  /** Milliseconds that its transaction is old; 0 where it has none. */
  get age(): number {
    return this.#tx ? this.#server.loop.now - this.#begunAt : 0
  }

  /** The client sends these; they are in the backend's socket from now on. */
  send(statements: readonly Statement[]): void {
    if (!this.connected) return
    this.#queue.push(...statements)
    this.#next()
  }

  freeze(): void {
    this.#frozen = true
  }

  thaw(): void {
    if (!this.#frozen) return
    this.#frozen = false
    const then = this.#whenThawed
    this.#whenThawed = null
    if (then && !this.#terminating) then()
    else this.#endIfTold()
    this.#next()
  }

  /** pg_terminate_backend: it goes before its next statement or while it waits for a lock; a frozen one when it thaws. */
  terminate(): void {
    this.#terminating = true
    this.#endIfTold()
  }

  #endIfTold(): void {
    if (!this.#terminating || this.#frozen || this.#ended || (this.#busy && !this.#waiting)) return
    const statement = this.#queue[0]
    if (statement)
      this.#answer(statement, new ServerError('57P01', 'terminating connection due to administrator command'))
    this.end(true)
  }

  /** The connection breaks. Of what the backend has not read yet, it still gets the first `reach` statements. */
  cut(reach: number): void {
    if (!this.#connected) return
    this.#queue.splice(reach)
    this.#cutOff = true
    this.#disconnect()
    this.#next()
  }

  /** Gone at once, with its transaction. `told`: the client hears that the connection was closed. */
  end(told: boolean): void {
    if (this.#ended) return
    this.#ended = true
    this.#turn++
    this.#tx = null
    this.#queue.length = 0
    this.#server.backends.delete(this)
    this.#server.locks.release(this)
    if (told) this.#disconnect()
  }

  /** The server has died: nothing it was about to say arrives. */
  crash(): void {
    this.#cutOff = true
    this.end(true)
  }

  #disconnect(): void {
    if (!this.#connected) return
    this.#connected = false
    this.#later('connection closed', () => this.onClosed?.())
  }

  #next(): void {
    if (this.#ended || this.#frozen || this.#busy) return
    if (this.#terminating) {
      this.#endIfTold()
      return
    }
    const statement = this.#queue[0]
    if (statement === undefined) {
      if (!this.#connected || this.client.state === 'dead') this.end(false)
      else if (this.#tx) this.#watchIdle()
      return
    }
    this.#busy = true
    const turn = this.#turn
    const { loop, random, chaos } = this.#server
    const slow = chaos.happens('slow statement') ? random.delay(2_000) : 0
    const begin = () => {
      if (turn === this.#turn) this.#begin(statement)
    }
    if (slow > 0 || random.chance(0.4)) loop.after(slow + random.delay(1.5), 'statement', begin)
    else begin()
  }

  #begin(statement: Statement): void {
    if (this.#halted()) return
    const { chaos } = this.#server
    if (statement.point === 'before commit') chaos.at('before commit', this.client)
    if (this.#halted()) return
    if (this.#broken && statement.ends === undefined) {
      this.#done(statement, new ServerError('25P02', 'current transaction is aborted'))
      return
    }
    if (this.#tx === null) {
      this.#tx = { tables: this.#server.tables, changes: [] }
      this.#begunAt = this.#server.loop.now
      this.#begun = this.#server.tick()
    }
    const tx: Transaction = { tables: this.#server.tables, changes: this.#tx.changes }
    this.#acquire(statement, [...statement.locks(tx)], tx)
  }

  /** Frozen or told to end between statements: what was begun begins again, or never. */
  #halted(): boolean {
    if (this.#ended) return true
    if (!this.#frozen && !this.#terminating) return false
    this.#busy = false
    this.#turn++
    this.#next()
    return true
  }

  #acquire(statement: Statement, names: string[], tx: Transaction): void {
    const { locks, loop } = this.#server
    const turn = this.#turn
    const name = names.shift()
    if (name === undefined) {
      this.#run(statement, tx)
      return
    }
    const go = () => {
      if (turn !== this.#turn) return
      if (this.#frozen) {
        this.#whenThawed = go
        return
      }
      this.#waiting = false
      this.#acquire(statement, names, tx)
    }
    if (locks.acquire(name, this, () => loop.after(0, 'lock granted', go))) {
      go()
      return
    }
    this.#waiting = true
    loop.after(deadlockTimeoutMs, 'deadlock check', () => {
      if (turn === this.#turn && locks.deadlocked(this))
        this.#giveUp(statement, new ServerError('40P01', 'deadlock detected'))
    })
    const { lockTimeoutMs } = statement
    if (lockTimeoutMs !== undefined) {
      const waiting = name
      loop.after(lockTimeoutMs, 'lock timeout', () => {
        if (turn === this.#turn && locks.holderOf(waiting) !== this)
          this.#giveUp(statement, new ServerError('55P03', 'canceling statement due to lock timeout'))
      })
    }
  }

  #giveUp(statement: Statement, error: ServerError): void {
    if (this.#ended) return
    if (this.#frozen) {
      this.#whenThawed = () => this.#giveUp(statement, error)
      return
    }
    this.#server.locks.cancel(this)
    this.#done(statement, error)
  }

  #run(statement: Statement, tx: Transaction): void {
    const { loop, chaos } = this.#server
    // A statement that waited sees what was committed meanwhile.
    const fresh: Transaction = { tables: this.#server.tables, changes: tx.changes }
    if (statement.ends === undefined) {
      const error = statement.run(fresh)
      if (statement.point && !error) chaos.at(statement.point, this.client)
      this.#done(statement, error)
      return
    }
    const error = statement.ends === 'rollback' ? null : (this.#broken ?? statement.run(fresh))
    const changes = fresh.changes
    this.#tx = null
    this.#broken = null
    if (statement.ends === 'commit' && error === null && changes.length > 0)
      this.#server.apply({ by: this.client.name, at: loop.now, begun: this.#begun, changes })
    this.#server.locks.release(this)
    if (statement.ends === 'commit' && error === null) this.#committed(statement)
    else this.#done(statement, error)
  }

  #committed(statement: Statement): void {
    const { chaos } = this.#server
    chaos.at('committed', this.client)
    if (chaos.happens('commit answer lost')) this.cut(0)
    this.#done(statement, null)
  }

  #done(statement: Statement, error: ServerError | null): void {
    if (this.#ended) return
    this.#turn++
    this.#waiting = false
    if (error && statement.ends === undefined) this.#broken ??= error
    this.#queue.shift()
    this.#busy = false
    this.#answer(statement, error)
    this.#next()
  }

  #answer(statement: Statement, error: ServerError | null): void {
    if (!this.connected) return
    this.#later('answer', () => {
      if (!this.#cutOff) statement.answer(error)
    })
  }

  /** To the client, in order. */
  #later(label: string, run: () => void): void {
    const { loop, random } = this.#server
    this.#answeredAt = Math.max(this.#answeredAt, loop.now + random.delay(1))
    loop.after(this.#answeredAt - loop.now, label, run, this.client)
  }

  #watchIdle(): void {
    const since = ++this.#idleSince
    this.#server.loop.after(idleInTransactionMs, 'idle in transaction', () => {
      if (!this.#ended && !this.#frozen && since === this.#idleSince && this.#tx && this.#queue.length === 0)
        this.end(true)
    })
  }
}
