import type { Clock, Timer } from '../clock.ts'
import { messageOf } from '../errors.ts'
import type { Lifecycle } from '../lifecycle.ts'
import type { Log } from '../log.ts'
import { textArray } from './array-text.ts'
import type { Ask } from './control.ts'
import { serverTime } from './server-time.ts'

export type UpkeepOptions = {
  /** With time for what takes long. */
  readonly control: Ask
  readonly clock: Clock
  readonly log: Log
  /** The daemon's own, whose keys are kept for `keysMs`. */
  readonly groups: readonly string[]
  readonly keysMs: number
  readonly progressMs: number
  readonly traceabilityMs: number
  readonly offsetsLogMs: number
}

const dayMs = 86_400_000
/** Days that have a partition before their first key comes. */
const daysAhead = 2
/** Kept days that get one later, for a backlog from before the first start or of a long pause. */
const daysBack = 62
const intervalMs = 600_000
/** Small batches: short locks, and dead rows that vacuum can keep up with. */
const batchRows = 10_000

/**
 * Keeps the growing tables in bounds: partitions of keys for the days to come, and old rows dropped in batches. What is old
 * goes by the server's clock: by a daemon's own, one that is days ahead would drop keys that all others still need. All
 * groups share the keys' days, so that none goes before the group that wants it longest.
 */
export class Upkeep implements Lifecycle {
  readonly #options: UpkeepOptions
  #timer: Timer | undefined
  #running: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(options: UpkeepOptions) {
    this.#options = options
  }

  /** Fails never and waits for nothing: keys of a day without a partition are known all the same. */
  async start(): Promise<void> {
    this.#again(0)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#running
  }

  #again(ms: number): void {
    this.#timer = this.#options.clock.after(ms, () => {
      this.#running = this.#round()
      void this.#running.then(() => {
        if (!this.#stopped) this.#again(intervalMs)
      })
    })
  }

  async #round(): Promise<void> {
    const { control, groups, keysMs } = this.#options
    await this.#part(async () => {
      const now = await serverTime(control)
      const [kept] = await control<[{ ms: number }]>`
        select sys.fn_keep_keys(${textArray(groups)}::text[], ${keysMs})::float8 as ms`
      await this.#roundAt(now, kept.ms)
    })
  }

  async #roundAt(now: number, keysMs: number): Promise<void> {
    const { control, progressMs, traceabilityMs, offsetsLogMs } = this.#options
    const before = (ms: number) => new Date(now - ms)
    const firstDay = Math.floor((now - keysMs) / dayMs)
    await this.#part(() => this.#createDays(Math.floor(now / dayMs), firstDay))
    await this.#part(() => control`select sys.fn_drop_key_days(${firstDay}, ${before(keysMs)})`)
    await this.#batches(
      () => control<Deleted[]>`select sys.fn_trim_default_keys(${before(keysMs)}, ${batchRows}) as deleted`,
    )
    await this.#batches(
      () => control<Deleted[]>`select sys.fn_trim_progress(${before(progressMs)}, ${batchRows}) as deleted`,
    )
    await this.#batches(
      () => control<Deleted[]>`select sys.fn_trim_traceability(${before(traceabilityMs)}, ${batchRows}) as deleted`,
    )
    await this.#batches(
      () => control<Deleted[]>`select sys.fn_trim_offsets_log(${before(offsetsLogMs)}, ${batchRows}) as deleted`,
    )
  }

  /** The kept days, so that the default partition, which each new one locks and reads, has few keys; the next ones first. */
  async #createDays(today: number, firstDay: number): Promise<void> {
    const { control } = this.#options
    const next = Array.from({ length: daysAhead + 1 }, (_, i) => today + i)
    const past = Array.from({ length: Math.min(daysBack, today - firstDay) }, (_, i) => today - 1 - i)
    for (const day of [...next, ...past]) if (!this.#stopped) await control`select sys.fn_add_key_day(${day})`
  }

  /** What fails is tried again in the next round, and keeps nothing else from being done. */
  async #part(work: () => PromiseLike<unknown>): Promise<void> {
    if (this.#stopped) return
    try {
      await work()
    } catch (error) {
      this.#options.log.warn(
        'upkeep.failed',
        { error: messageOf(error) },
        'A part of the upkeep of tables was not done; trying again later.',
      )
    }
  }

  #batches(deleteBatch: () => Promise<Deleted[]>): Promise<void> {
    return this.#part(async () => {
      for (let deleted = batchRows; deleted >= batchRows && !this.#stopped; )
        deleted = (await deleteBatch())[0]?.deleted ?? 0
    })
  }
}

type Deleted = { deleted: number }
