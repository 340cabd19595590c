import type { Failure } from '../../core/effects.ts'
import { blameOf } from '../../core/postgres/sqlstate.ts'
import type {
  Commit,
  CommitMode,
  CommitResult,
  Lane,
  Outcome,
  PartitionRef,
  Resolution,
} from '../../core/postgres/transactions.ts'
import {
  effectSteps,
  fence,
  insertKeys,
  lookKeysUp,
  parking,
  recordProgress,
  rollback,
  type Step,
} from './commit-statements.ts'
import type { PostgresClient } from './postgres-client.ts'
import { type Backend, ServerError, type Statement } from './postgres-server.ts'
import { refKey } from './postgres-tables.ts'

export type SimulatedLaneOptions = {
  readonly client: PostgresClient
  /** The lane's contract was broken by its caller. */
  readonly breach: (what: string) => void
  /** `sentAt`: when the refused commit was sent, in virtual ms. */
  readonly fenced: (refs: readonly PartitionRef[], sentAt: number) => void
}

const answerDeadlineMs = 4_000
const goneDeadlineMs = 3_000

/** A connection that commits, as core/postgres/lane.ts does it, to the model of PostgreSQL. */
export class SimulatedLane implements Lane {
  readonly #client: PostgresClient
  readonly #breach: (what: string) => void
  readonly #fenced: SimulatedLaneOptions['fenced']
  #backend: Backend | null = null
  /** Of the commit last sent. */
  #last: Backend | null = null
  #sentAt = 0
  #busy = false
  /** The id of a commit whose fate its sender does not know and has not asked for. */
  #unresolved: string | null = null

  constructor(options: SimulatedLaneOptions) {
    this.#client = options.client
    this.#breach = options.breach
    this.#fenced = options.fenced
  }

  async commit(commit: Commit, mode: CommitMode): Promise<CommitResult> {
    const { chaos } = this.#client.server
    if (this.#busy) this.#breach('a second commit on a lane that has not answered the first')
    if (this.#unresolved !== null) this.#breach('a commit on a lane whose last commit is unknown and was not resolved')
    this.#busy = true
    this.#sentAt = this.#client.server.loop.now
    chaos.at('commit sent', this.#client.process)
    for (const { result, row, knownSince } of commit.outcomes) {
      if (result.kind === 'done' && row !== null && row.replays > 0) chaos.mark('brought back and done')
      if (knownSince !== null && result.kind === 'done')
        chaos.mark(row === null ? 'a record ran again' : 'a parked record ran again')
      if (result.kind === 'parked') chaos.mark('parked')
      else if (row !== null)
        chaos.mark(row.generation < 0 ? "an earlier topic's parked record" : 'a parked record decided')
    }
    const result = await this.#commit(commit, mode)
    this.#busy = false
    if (result.kind === 'unknown') {
      this.#unresolved = commit.id
      this.#drop()
    }
    if (result.kind === 'fenced')
      this.#fenced(
        result.partitions.flatMap((place) => commit.partitions[place]?.ref ?? []),
        this.#sentAt,
      )
    chaos.at('commit answered', this.#client.process)
    return result
  }

  async resolve(commit: Commit): Promise<Resolution> {
    const { server, process } = this.#client
    server.chaos.at('resolve sent', process)
    this.#drop()
    const backend = this.#last
    try {
      if (backend && !(await this.#gone(backend)))
        return { kind: 'unavailable', reason: new Error('the backend was told to end and has not') }
      const resolution = await this.#client.once('resolve', {
        run: ({ tables }): Resolution => {
          const committed = commit.partitions.some(({ ref }) =>
            tables.progress.get(refKey(ref))?.some(({ commitId }) => commitId === commit.id),
          )
          if (committed) return { kind: 'committed' }
          const moved = commit.partitions.flatMap(({ ref, follows }, place) => {
            const last = tables.last(ref)
            return last?.commitId === follows ? [] : [place]
          })
          return { kind: 'not-committed', moved }
        },
      })
      if (this.#unresolved === commit.id) this.#unresolved = null
      server.chaos.mark(`resolved as ${resolution.kind}`)
      if (resolution.kind === 'not-committed')
        this.#fenced(
          resolution.moved.flatMap((place) => commit.partitions[place]?.ref ?? []),
          this.#sentAt,
        )
      return resolution
    } catch (thrown) {
      return { kind: 'unavailable', reason: thrown instanceof Error ? thrown : new Error('PostgreSQL is away') }
    }
  }

  async #gone(backend: Backend): Promise<boolean> {
    const { loop } = this.#client.server
    const deadline = loop.now + goneDeadlineMs
    while (!backend.ended) {
      if (loop.now >= deadline) return false
      await this.#client.once('terminate', {
        run: () => {
          backend.terminate()
          return true
        },
      })
      await new Promise<void>((resolve) => loop.after(50, 'wait for backend', resolve, this.#client.process))
    }
    return true
  }

  #drop(): void {
    this.#backend?.cut(this.#client.server.random.below(9))
    this.#backend = null
  }

  async #commit(commit: Commit, mode: CommitMode): Promise<CommitResult> {
    let backend: Backend
    try {
      backend = this.#backend?.connected ? this.#backend : await this.#client.connect()
    } catch (thrown) {
      return {
        kind: 'refused',
        step: 'own',
        blame: 'infrastructure',
        failure: failureOf(thrown instanceof ServerError ? thrown : new ServerError('08006', 'away')),
      }
    }
    this.#backend = backend
    this.#last = backend
    if (mode.kind === 'optimistic')
      return this.#send(backend, commit, [
        fence(commit),
        recordProgress(commit),
        parking(commit),
        insertKeys(commit),
        ...effectSteps(commit),
      ])
    return this.#checked(backend, commit, mode.settle)
  }

  async #checked(
    backend: Backend,
    commit: Commit,
    settle: (duplicates: readonly number[]) => Commit,
  ): Promise<CommitResult> {
    const { server, process } = this.#client
    let known: number[] | null = null
    const asked = await this.#answers(backend, [
      fence(commit),
      lookKeysUp(commit, (duplicates) => (known = duplicates)),
    ])
    if (asked === null) return unknown()
    const wrong = asked.find(({ error }) => error !== null)
    if (wrong) {
      const ended = await this.#answers(backend, [rollback])
      return ended === null ? unknown() : this.#refused(wrong.step, wrong.error)
    }
    server.chaos.at('settle', process)
    const settled = settle(known ?? [])
    this.#checkSettled(commit, settled, known ?? [])
    return this.#send(backend, settled, [
      recordProgress(settled),
      parking(settled),
      insertKeys(settled),
      ...effectSteps(settled),
    ])
  }

  async #send(backend: Backend, commit: Commit, steps: readonly Step[]): Promise<CommitResult> {
    const { chaos } = this.#client.server
    const answers = this.#answers(backend, steps)
    if (chaos.happens('orphaned commit')) backend.cut(steps.length)
    else if (chaos.happens('commit lost')) backend.cut(0)
    else if (chaos.happens('cut between statements')) backend.cut(this.#client.server.random.below(steps.length + 1))
    const ended = await answers
    if (ended === null) return unknown()
    const wrong = ended.find(({ error }) => error !== null)
    return wrong ? this.#refused(wrong.step, wrong.error) : { kind: 'committed', commit }
  }

  /** What the server said of each step; null when the connection broke or the deadline passed first. */
  #answers(backend: Backend, steps: readonly Step[]): Promise<{ step: Step; error: ServerError | null }[] | null> {
    const { server, process } = this.#client
    return new Promise((resolve) => {
      if (process.state === 'dead') return
      const answered: { step: Step; error: ServerError | null }[] = []
      const timer = server.loop.after(answerDeadlineMs, 'answer deadline', () => resolve(null), process)
      const finish = (result: typeof answered | null) => {
        timer.cancelled = true
        resolve(result)
      }
      const fatal = () => answered.some(({ error }) => error?.code === '57P01')
      if (!backend.connected) {
        finish(null)
        return
      }
      backend.onClosed = () => finish(fatal() ? answered : null)
      backend.send(
        steps.map(
          (step): Statement => ({
            ...step,
            run: (tx) => this.#hazard(step) ?? step.run(tx),
            answer: (error) => {
              answered.push({ step, error })
              if (answered.length === steps.length) finish(answered)
            },
          }),
        ),
      )
    })
  }

  #hazard(step: Step): ServerError | null {
    const { chaos } = this.#client.server
    if (step.ends === 'rollback') return null
    if (chaos.happens('infrastructure error')) return new ServerError('53100', 'disk full')
    if (chaos.happens('serialization failure')) return new ServerError('40001', 'could not serialize access')
    if (step.of === 'effect' && step.ends === undefined && chaos.happens('lock timeout'))
      return new ServerError('55P03', 'lock timeout')
    return null
  }

  #refused(step: Step, error: ServerError | null): CommitResult {
    if (error === null) return unknown()
    const { code, detail } = error
    if (code === '25P02') return unknown()
    if (code === 'TY001') return { kind: 'fenced', partitions: detail.split(',').map(Number) }
    if (step.of === 'own' && code === '23505') return { kind: 'duplicates' }
    const blame = blameOf(code)
    if (blame === 'infrastructure') this.#drop()
    return { kind: 'refused', step: step.of, blame, failure: failureOf(error) }
  }

  #checkSettled(commit: Commit, settled: Commit, duplicates: readonly number[]): void {
    const named = ({ partitions }: Commit) => partitions.map(({ ref, follows }) => `${refKey(ref)} ${follows}`).join()
    if (settled.id !== commit.id || named(settled) !== named(commit)) this.#breach('settle returned another commit')
    const name = ({ partitions }: Commit, { partition, record, row }: Outcome) => {
      const ref = partitions[partition]?.ref
      return `${ref && refKey(ref)} ${row?.generation ?? 0} ${record.offset}`
    }
    const known = new Set(
      duplicates.flatMap((place) => commit.outcomes[place] ?? []).map((outcome) => name(commit, outcome)),
    )
    for (const outcome of settled.outcomes) {
      const at = name(settled, outcome)
      if (known.has(at) && !['duplicate', 'retried', 'parked'].includes(outcome.result.kind))
        this.#breach(`settle kept the duplicate ${at}`)
    }
  }
}

function unknown(): CommitResult {
  return { kind: 'unknown', reason: new Error('no answer') }
}

function failureOf(error: ServerError): Failure {
  return {
    reason: 'effect',
    errorClass: 'PostgresError',
    message: error.message,
    stack: '',
    kind: 'permanent',
    sqlstate: error.code,
  }
}
