import { setTimeout as pause } from 'node:timers/promises'
import postgres from 'postgres'
import { positionsOf } from '../../tools/run/positions.ts'
import { partitions, type Stage } from './stage.ts'

const everyMs = 200
/** A database that takes longer to answer is away. */
const patienceMs = 1_500

/** How far the group was at a moment. */
export type Sample = {
  readonly at: number
  /** Records done, by partition. */
  readonly done: ReadonlyMap<number, number>
  /** Records that Kafka has and nobody has done. */
  readonly behind: number
}

/** Looks a few times a second how far the group is, by a connection of its own. */
export class Watch {
  readonly #stage: Stage
  readonly #sql: postgres.Sql
  readonly #running: Promise<void>
  #stopped = false
  /** The last look that was answered. */
  last: Sample | undefined

  constructor(stage: Stage) {
    this.#stage = stage
    this.#sql = postgres(stage.database, { max: 1, connect_timeout: 2, onnotice() {} })
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
    await this.#sql.end({ timeout: 1 })
  }

  /**
   * Resolves with `recovered` when the group works as before: every partition has done something since now, and what has
   * not been done is less than `behind` records. When that takes longer than `deadlineMs`, or `signal` aborts: with `slow`
   * when every partition has done something at least, else with `stuck`.
   */
  async recovery(behind: number, deadlineMs: number, signal: AbortSignal): Promise<'recovered' | 'slow' | 'stuck'> {
    const begun = performance.now()
    let before: Sample | undefined
    let moves = false
    while (performance.now() - begun < deadlineMs && !signal.aborted) {
      const { last } = this
      if (last !== undefined && last.at >= begun) {
        before ??= last
        moves = moved(before.done, last.done)
        if (moves && last.behind < behind) return 'recovered'
      }
      await pause(everyMs / 2)
    }
    return moves ? 'slow' : 'stuck'
  }

  /** What keeps the group from being as before. */
  describe(): string {
    const { last } = this
    if (last === undefined) return 'PostgreSQL has not answered yet'
    const ago = Math.round((performance.now() - last.at) / 1_000)
    const places = [...last.done].map(([partition, done]) => `${partition}: ${done}`).join(', ')
    return `${last.behind} records behind ${ago} s ago (${places})`
  }

  async #run(): Promise<void> {
    let asked: Promise<void> | undefined
    while (!this.#stopped) {
      asked ??= this.#look().finally(() => {
        asked = undefined
      })
      await Promise.race([asked, pause(patienceMs)])
      await pause(everyMs)
    }
  }

  async #look(): Promise<void> {
    const at = performance.now()
    try {
      const done = await doneBy(this.#sql, this.#stage.topic)
      const sum = [...done.values()].reduce((all, count) => all + count, 0)
      this.last = { at, done, behind: this.#stage.present - sum }
    } catch {
      // away: the last sample stays
    }
  }
}

/** Whether every partition has done something between two looks. */
export function moved(before: Sample['done'], now: Sample['done']): boolean {
  return now.size === partitions && [...now].every(([partition, done]) => done > (before.get(partition) ?? 0))
}

/** Records done, by partition. */
export async function doneBy(sql: postgres.Sql, group: string): Promise<Sample['done']> {
  const positions = await positionsOf(sql, group)
  return new Map(positions.map(({ partition, done }) => [partition, done]))
}
