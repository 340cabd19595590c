import type postgres from 'postgres'
import type { Clock, Timer } from '../clock.ts'
import { messageOf } from '../errors.ts'
import type { Lifecycle } from '../lifecycle.ts'
import type { Log } from '../log.ts'

export type UpkeepOptions = {
  readonly control: postgres.Sql
  readonly clock: Clock
  readonly log: Log
  readonly keysMs: number
  readonly progressMs: number
  readonly traceabilityMs: number
  readonly offsetsLogMs: number
}

const dayMs = 86_400_000
/** Days that have a partition before their first key comes. */
const daysAhead = 2
const intervalMs = 600_000
/** Small batches: short locks, and dead rows that vacuum can keep up with. */
const batchRows = 10_000

/** Keeps the growing tables in bounds: partitions of keys for the days to come, and old rows dropped in batches. */
export class Upkeep implements Lifecycle {
  readonly #options: UpkeepOptions
  #timer: Timer | undefined
  #running: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(options: UpkeepOptions) {
    this.#options = options
  }

  /** Makes the partitions that are needed now; the rest goes on behind. */
  async start(): Promise<void> {
    await this.#createDays()
    this.#again(0)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#running
  }

  #again(ms: number): void {
    this.#timer = this.#options.clock.after(ms, () => {
      this.#running = this.#round().catch((error: unknown) => {
        this.#options.log.warn(
          'upkeep.failed',
          { error: messageOf(error) },
          'Old rows could not be cleared away; trying again later.',
        )
      })
      void this.#running.then(() => {
        if (!this.#stopped) this.#again(intervalMs)
      })
    })
  }

  async #createDays(): Promise<void> {
    const today = Math.floor(this.#options.clock.now() / dayMs)
    for (let day = today - 1; day <= today + daysAhead; day++)
      await this.#options.control`select sys.fn_create_key_day(${day})`
  }

  async #round(): Promise<void> {
    const { control, clock, keysMs, progressMs, traceabilityMs, offsetsLogMs } = this.#options
    await this.#createDays()
    const now = clock.now()
    await control`select sys.fn_drop_key_days(${Math.floor((now - keysMs) / dayMs)})`
    const before = (ms: number) => new Date(now - ms)
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

  async #batches(deleteBatch: () => Promise<Deleted[]>): Promise<void> {
    for (let deleted = batchRows; deleted >= batchRows && !this.#stopped; )
      deleted = (await deleteBatch())[0]?.deleted ?? 0
  }
}

type Deleted = { deleted: number }
