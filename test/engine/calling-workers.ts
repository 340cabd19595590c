import type { Clock } from '../../core/clock.ts'
import type { KafkaRecord } from '../../core/kafka/source.ts'
import type { Decision, Dispatch, Done, Failed, Workers, WorkersListener } from '../../core/workers.ts'

/** A mailbox as a worker has it. */
type Box = { readonly run: number; readonly tenant: string; readonly queue: KafkaRecord[]; busy: boolean }

const known = { key: null, type: 'go', traceId: '' }

/** Workers whose handlers do nothing but call one dependency, each call taking `callMs`. */
export class CallingWorkers implements Workers {
  readonly count = 1
  callMs = 100
  /** Whether the dependency serves this record; null: it never answers. */
  serves: (tenant: string, offset: number) => boolean | null = () => true
  /** Every call: when it began, of whom, and whether it was served. */
  readonly calls: { readonly at: number; readonly tenant: string; readonly offset: number; readonly ok: boolean }[] = []
  /** Calls under way, and the most there were at once. */
  running = 0
  most = 0
  readonly #boxes = new Map<number, Box>()
  #clock: Clock | null = null
  #listener: WorkersListener | null = null

  start(clock: Clock, listener: WorkersListener): void {
    this.#clock = clock
    this.#listener = listener
  }

  dispatch(_worker: number, dispatches: readonly Dispatch[]): void {
    for (const { mailbox, run, opening, records } of dispatches) {
      if (opening !== null) this.#boxes.set(mailbox, { run, tenant: opening.tenant, queue: [], busy: false })
      const box = this.#boxes.get(mailbox)
      if (box?.run !== run) throw new Error('records of a run that was never opened')
      box.queue.push(...records)
      this.#next(mailbox, box)
    }
  }

  forget(_worker: number, mailboxes: readonly number[]): void {
    for (const mailbox of mailboxes) this.#boxes.delete(mailbox)
  }

  openExtra(): void {}

  closeExtra(): void {}

  /** Calls of `tenant`, or of all, since `from`. */
  since(from: number, tenant?: string): number {
    return this.calls.filter((call) => call.at >= from && (tenant === undefined || call.tenant === tenant)).length
  }

  #next(mailbox: number, box: Box): void {
    if (box.busy) return
    const record = box.queue.shift()
    if (record === undefined) return
    box.busy = true
    const { offset } = record
    const served = this.serves(box.tenant, offset)
    this.calls.push({ at: this.#clock?.monotonic() ?? 0, tenant: box.tenant, offset, ok: served === true })
    this.most = Math.max(this.most, ++this.running)
    this.#clock?.after(served === null ? 1e9 : this.callMs, () => {
      this.running--
      if (this.#boxes.get(mailbox) !== box) return
      box.busy = false
      if (served !== true) this.#boxes.delete(mailbox)
      const outcome = served === true ? done(offset) : failed(offset)
      const decision: Decision = { mailbox, run: box.run, offset, outcome }
      this.#listener?.decided(0, [decision])
      if (served === true) this.#next(mailbox, box)
    })
  }
}

function done(offset: number): Done {
  return {
    kind: 'done',
    ...known,
    messageId: `m${offset}`,
    effects: [],
    publishes: false,
    packed: null,
    stateful: false,
    state: null,
    bytes: 0,
    served: 1,
  }
}

function failed(offset: number): Failed {
  const failure = {
    reason: 'dependency',
    errorClass: 'Error',
    message: 'away',
    stack: '',
    kind: 'transient',
    dependency: 'api',
  } as const
  return { kind: 'failed', ...known, messageId: `m${offset}`, failure, served: 0 }
}
