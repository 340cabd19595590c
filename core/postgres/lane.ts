import type postgres from 'postgres'
import type { Catalog } from '../catalog.ts'
import type { Clock } from '../clock.ts'
import type { Failure } from '../effects.ts'
import { codeOf, errorOf, messageOf, TenantryError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Ask } from './control.ts'
import { deadLetterSteps } from './dead-letters.ts'
import { breakerSteps } from './breakers.ts'
import { EffectGrouping } from './effects.ts'
import {
  commitProgress,
  effectSteps,
  fence,
  recordProgress,
  stateSteps,
  type Step,
  type Traceability,
  traceSteps,
} from './group-commit.ts'
import { type Asked, askedKeys, insertKeys, knownKeys } from './keys.ts'
import { outboxSteps, publishedSteps } from './outbox.ts'
import { type Backend, LaneConnection, type LaneLimits } from './lane-connection.ts'
import { lookUp } from './resolve.ts'
import { textParameters } from './parameters.ts'
import { parkingSteps } from './parking.ts'
import { retrySteps } from './retries.ts'
import { type Run, runsOf } from './runs.ts'
import { abortedState, blameOf, fencedState, isKnownKey, isServerError, leftTransactionState } from './sqlstate.ts'
import type { Commit, CommitMode, CommitResult, Lane, Resolution } from './transactions.ts'

export type PostgresLaneOptions = {
  readonly url: string
  /** Shown in pg_stat_activity. */
  readonly name: string
  /** A client for what must not go through the lane: ending its backend, looking for its commits. */
  readonly control: Ask
  readonly catalog: Catalog
  readonly traceability: Traceability
  /** Null: dead letters are rows alone. */
  readonly deadLetterTopic: string | null
  readonly limits: LaneLimits
  /** No answer for so long counts as none. */
  readonly answerDeadlineMs: number
  readonly clock: Clock
  readonly log: Log
}

/**
 * Each set of columns in which rows are written is a statement of its own, and the server keeps 50 KB of each that a
 * session has prepared: past so many the lane goes on in a new one. An actor that writes what a payload has of twenty
 * optional fields makes a million; so does one that builds the texts of its own statements.
 */
const maxShapes = 1_000

/** How a step of a pipeline ended. */
type Ended = { readonly step: Step; readonly error: unknown }

/**
 * One PostgreSQL connection that commits. A commit is one pipeline: `begin read write`, its steps, `commit and chain`,
 * `rollback`. The session is read-only by default, so a statement that strays outside the transaction is refused; and
 * `commit and chain` is an error outside one, where a bare commit would succeed silently. As the commit is on its way
 * before anything has been answered, every check raises inside the transaction, which turns the commit into a rollback.
 */
export class PostgresLane implements Lane {
  readonly #options: PostgresLaneOptions
  #grouping: EffectGrouping
  #types: ReadonlyMap<string, string>
  #connection: LaneConnection | undefined
  /** Shapes of rows, and texts of actors' own statements, that were sent over this connection. */
  readonly #shapes = new Set<string>()
  /** Of the commit last sent: what `resolve` must see gone. */
  #backend: Backend | undefined
  /**
   * The last commit met 21000, which two spellings of one key in an upsert give, or what the order of its upserts may have
   * caused: the next sends upserts row by row.
   */
  #split = false

  constructor(options: PostgresLaneOptions) {
    this.#options = options
    this.#grouping = new EffectGrouping(options.catalog)
    this.#types = typesOf(options.catalog)
  }

  /** From the next commit on, the tables are those of `catalog`. */
  useCatalog(catalog: Catalog): void {
    this.#grouping = new EffectGrouping(catalog)
    this.#types = typesOf(catalog)
  }

  async commit(commit: Commit, mode: CommitMode): Promise<CommitResult> {
    let connection: LaneConnection
    try {
      if (this.#shapes.size > maxShapes) await this.close()
      connection = this.#connection ?? (await this.#open())
    } catch (error) {
      return {
        kind: 'refused',
        step: 'own',
        blame: 'infrastructure',
        failure: failureOf(error, 'postgres_unavailable'),
      }
    }
    this.#connection = connection
    this.#backend = connection.backend
    const split = this.#split
    this.#split = false
    let result: CommitResult
    try {
      result =
        mode.kind === 'optimistic'
          ? await this.#optimistic(connection, commit, split)
          : await this.#checked(connection, commit, askedKeys(commit), split, mode.settle)
    } catch (error) {
      // Not even its text could be written, such as one longer than V8 allows (2^29 characters): what had been sent is
      // cut off, and halves of the commit find out whose effects they are.
      this.#drop()
      return { kind: 'refused', step: 'effect', blame: 'statement', failure: failureOf(error, 'effect') }
    }
    if (result.kind === 'unknown') this.#drop()
    return result
  }

  async resolve(commit: Commit): Promise<Resolution> {
    this.#drop()
    const { control, clock } = this.#options
    return lookUp(control, clock, this.#backend, commit)
  }

  /** Ends the connection in good order. */
  async close(): Promise<void> {
    const connection = this.#connection
    this.#connection = undefined
    await connection?.end()
  }

  #open(): Promise<LaneConnection> {
    this.#shapes.clear()
    return LaneConnection.open(this.#options.url, this.#options.name, this.#options.limits, { types: textParameters })
  }

  #drop(): void {
    this.#connection?.destroy()
    this.#connection = undefined
  }

  async #optimistic(connection: LaneConnection, commit: Commit, split: boolean): Promise<CommitResult> {
    const { sql } = connection
    const runs = runsOf(commit.outcomes)
    const effects = this.#effects(sql, commit, runs, split)
    const steps = [
      begin(sql),
      commitProgress(sql, commit),
      ...parkingSteps(sql, commit),
      ...insertKeys(sql, commit, runs),
      ...effects.steps,
    ]
    return this.#finish(connection, { commit, steps, raw: effects.raw, split })
  }

  /** Looks the keys up first. Another lane's that come in between are met when these are inserted: `duplicates`. */
  async #checked(
    connection: LaneConnection,
    commit: Commit,
    { asked, copies }: Asked,
    split: boolean,
    settle: (duplicates: readonly number[]) => Commit,
  ): Promise<CommitResult> {
    const { sql } = connection
    const lookUp = knownKeys(sql, asked)
    const ended = send(connection, [begin(sql), fence(sql, commit), { of: 'own', query: lookUp }])
    const known = await this.#answered(connection, lookUp)
    if (known instanceof Error) {
      const rolledBack = send(connection, [{ of: 'own', query: sql`rollback` }])
      const ends = await this.#answered(connection, Promise.all([ended, rolledBack]))
      return this.#refused(commit, ends instanceof Error ? ends : ends.flat(), known, split)
    }
    const duplicates = known.map(({ place }) => asked[place]?.index ?? -1)
    const settled = settle([...duplicates, ...copies].sort((a, b) => a - b))
    const runs = runsOf(settled.outcomes)
    const effects = this.#effects(sql, settled, runs, split)
    const steps = [
      recordProgress(sql, settled),
      ...parkingSteps(sql, settled),
      ...insertKeys(sql, settled, runs),
      ...effects.steps,
    ]
    return this.#finish(connection, { commit: settled, steps, raw: effects.raw, split })
  }

  #effects(sql: postgres.Sql, commit: Commit, runs: readonly Run[] | undefined, split: boolean) {
    const statements =
      (runs === undefined ? undefined : this.#grouping.join(runs)) ?? this.#grouping.group(commit.outcomes, split)
    const typeOf = (table: string, column: string) => this.#types.get(`${table}\n${column}`) ?? 'pg_catalog.text'
    const leave = (): Step => ({ of: 'effect', query: sql`select sys.fn_leave_statements(${commit.id})` })
    const steps: Step[] = []
    let within = false
    for (const statement of statements) {
      this.#shapes.add(statement.kind === 'rows' ? statement.shape.key : statement.effect.text.join('$'))
      if (within && statement.kind !== 'sql') steps.push(leave())
      within = statement.kind === 'sql'
      steps.push(...effectSteps(sql, commit.id, statement, typeOf))
    }
    if (within) steps.push(leave())
    const raw = statements.some(({ kind }) => kind === 'sql')
    const { deadLetterTopic, traceability } = this.#options
    const all = [
      ...steps,
      ...stateSteps(sql, commit),
      ...outboxSteps(sql, commit, deadLetterTopic),
      ...deadLetterSteps(sql, commit, deadLetterTopic),
      ...retrySteps(sql, commit),
      ...traceSteps(sql, commit, traceability),
      ...publishedSteps(sql, commit),
      ...breakerSteps(sql, commit),
    ]
    return { steps: all, raw }
  }

  async #finish(connection: LaneConnection, { commit, steps, raw, split }: Pipeline): Promise<CommitResult> {
    const { sql } = connection
    // A deferred constraint of the users' tables fails here, so the commit is theirs as much as ours.
    const committing: Step = { of: 'effect', query: sql`commit and chain` }
    const ending: Step[] = [{ of: 'own', query: sql`rollback` }, ...(raw ? cleanSession(sql) : [])]
    const ended = send(connection, [...steps, committing, ...ending])
    const committed = await this.#answered(connection, committing.query)
    if (!(committed instanceof Error) && committed.command === 'COMMIT') {
      // The rollback only closes the chained transaction; if it is lost, so is the connection, and the next commit sees.
      void ended
      return { kind: 'committed', commit }
    }
    const last = committed instanceof Error ? committed : undefined
    return this.#refused(commit, await this.#answered(connection, ended), last, split)
  }

  /** The answer, or an error: the server's, the closed connection's, the deadline's. */
  async #answered<T extends object>(connection: LaneConnection, query: PromiseLike<T>): Promise<T | Error> {
    const { clock, answerDeadlineMs } = this.#options
    const late = () => new TenantryError('TENANTRY_COMMIT_UNANSWERED', 'PostgreSQL did not answer a commit in time')
    try {
      return await connection.answer(query, clock, answerDeadlineMs, late)
    } catch (error) {
      return errorOf(error)
    }
  }

  #refused(commit: Commit, ended: readonly Ended[] | Error, last: Error | undefined, split: boolean): CommitResult {
    if (ended instanceof Error) return { kind: 'unknown', reason: ended }
    const first = ended.find(({ error }) => error !== null && codeOf(error) !== abortedState)
    if (first === undefined || !isServerError(first.error)) {
      return {
        kind: 'unknown',
        reason:
          last ??
          (first
            ? errorOf(first.error)
            : new TenantryError('TENANTRY_COMMIT_UNCLEAR', 'PostgreSQL rolled a commit back and does not say why')),
      }
    }
    const { error, step } = first
    const { code } = error
    // A trigger of the users' may raise the same.
    if (step.of === 'own' && code === fencedState)
      return { kind: 'fenced', partitions: (error.detail ?? '').split(',').map(Number) }
    if (step.of === 'own' && isKnownKey(error)) return { kind: 'duplicates' }
    const blame = blameOf(code)
    // Rolled back cleanly, the session can go on; after trouble a new one is safer.
    if (blame === 'infrastructure' || code === leftTransactionState) this.#drop()
    if (!split && (code === '21000' || (step.of === 'effect' && blame === 'statement' && isSorted(commit)))) {
      this.#split = true
      return { kind: 'refused', step: step.of, blame: 'again', failure: failureOf(error, 'effect') }
    }
    return { kind: 'refused', step: step.of, blame, failure: failureOf(error, 'effect') }
  }
}

/** Types of columns, by table and name. */
function typesOf({ tables }: Catalog): ReadonlyMap<string, string> {
  return new Map(
    tables.flatMap(({ name, columns }) =>
      columns.map((column) => [`${name}\n${column.name}`, `${column.typeSchema}.${column.type}`] as const),
    ),
  )
}

/**
 * Whether it is one message's whose upserts of a table went sorted: its own order may be one that another constraint of
 * the table wants, as when a value is given up by one row and taken by the next.
 */
function isSorted({ outcomes }: Commit): boolean {
  const result = outcomes.length === 1 ? outcomes[0]?.result : undefined
  if (result?.kind !== 'done') return false
  const upserts = result.effects.flatMap((effect) =>
    effect.kind === 'row' && effect.shape.conflict !== undefined ? [effect.shape] : [],
  )
  return new Set(upserts).size < upserts.length
}

/** What is sent at once, up to the commit. `raw`: with statements of actors' own; `split`: with upserts row by row. */
type Pipeline = {
  readonly commit: Commit
  readonly steps: readonly Step[]
  readonly raw: boolean
  readonly split: boolean
}

/** Locks and temporary tables that an actor's statement left to the session are not the next tenant's. */
function cleanSession(sql: postgres.Sql): Step[] {
  return [
    { of: 'own', query: sql`select pg_advisory_unlock_all()` },
    { of: 'own', query: sql`discard temporary` },
  ]
}

function begin(sql: postgres.Sql): Step {
  return { of: 'own', query: sql`begin read write` }
}

/**
 * Sends all at once; resolves when every step has ended, and never rejects. What the driver itself refuses (too many
 * parameters) it does not send, and the server would commit the rest: the connection ends with it.
 */
function send(connection: LaneConnection, steps: readonly Step[]): Promise<readonly Ended[]> {
  const ended = (step: Step): PromiseLike<Ended> =>
    step.query.then(
      () => ({ step, error: null }),
      (error: unknown) => {
        if (!isServerError(error)) connection.destroy()
        return { step, error: error ?? new Error('the driver gave no reason') }
      },
    )
  return connection.together(() => Promise.all(steps.map(ended)))
}

/** As a dead letter has it; `shownOf` says what others may see. PostgreSQL's `detail`, which quotes whole rows, stays out. */
function failureOf(error: unknown, reason: string): Failure {
  const server = isServerError(error) ? error : undefined
  return {
    reason,
    errorClass: server ? 'PostgresError' : errorOf(error).name,
    message: messageOf(error),
    stack: '',
    kind: 'permanent',
    ...(server && { sqlstate: server.code }),
  }
}
