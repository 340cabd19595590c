import type { Clock, Timer } from '../clock.ts'
import { codes, type NativeConsumer, type NativeError } from './confluent-addon.ts'
import type { OffsetCommitReply, PartitionOffset } from './source.ts'

type Waiting = {
  readonly key: string
  readonly timer: Timer
  /** Undefined once it was given up on; its answer may still come and must not be taken for another's. */
  settle: ((reply: OffsetCommitReply) => void) | undefined
}

const notMember: ReadonlySet<number> = new Set([
  codes.illegalGeneration,
  codes.unknownMemberId,
  codes.fencedInstanceId,
  codes.fencedMemberEpoch,
  codes.groupIdNotFound,
  codes.unreleasedInstanceId,
])

/**
 * Offset commits that wait for the coordinator without a thread: the addon's `commit` returns at once, its answer comes
 * as `offset_commit_cb` with the offsets and nothing else to know it by, so answers are matched by content, oldest first.
 */
export class NativeCommits {
  readonly #consumer: NativeConsumer
  readonly #clock: Clock
  readonly #deadlineMs: number
  readonly #waiting: Waiting[] = []

  constructor(consumer: NativeConsumer, clock: Clock, deadlineMs: number) {
    this.#consumer = consumer
    this.#clock = clock
    this.#deadlineMs = deadlineMs
  }

  commit(offsets: readonly PartitionOffset[]): Promise<OffsetCommitReply> {
    return new Promise((resolve) => {
      const waiting: Waiting = {
        key: keyOf(offsets),
        timer: this.#clock.after(this.#deadlineMs, () => {
          waiting.settle = undefined
          resolve('unavailable')
        }),
        settle: (reply) => {
          waiting.timer.cancel()
          resolve(reply)
        },
      }
      try {
        this.#consumer.commit(offsets.map(({ topic, partition, offset }) => ({ topic, partition, offset })))
        this.#waiting.push(waiting)
      } catch {
        waiting.settle?.('unavailable')
      }
    })
  }

  answered(error: NativeError | undefined, offsets: readonly PartitionOffset[]): void {
    const key = keyOf(offsets)
    const at = this.#waiting.findIndex((waiting) => waiting.key === key)
    if (at < 0) return
    const [waiting] = this.#waiting.splice(at, 1)
    waiting?.settle?.(!error ? 'committed' : notMember.has(error.code) ? 'not-member' : 'unavailable')
  }

  /** The consumer has gone: no answer will come. */
  close(): void {
    for (const waiting of this.#waiting.splice(0)) waiting.settle?.('unavailable')
  }
}

function keyOf(offsets: readonly PartitionOffset[]): string {
  return offsets
    .map(({ topic, partition, offset }) => `${topic} ${partition} ${offset}`)
    .sort()
    .join()
}
