import type { Clock } from '../core/clock.ts'
import { Fifo } from '../core/fifo.ts'
import type { KafkaRecord } from '../core/kafka/source.ts'
import { copySince } from '../core/postgres/transactions.ts'
import type { Dispatch, Opening, Workers } from '../core/workers.ts'
import type { Item, Mailbox } from './mailbox.ts'
import type { Quarantine } from './quarantine.ts'

export type DispatcherSettings = {
  /** Records that may be at one worker undecided. */
  readonly workerCreditRecords: number
  readonly workerCreditBytes: number
  /** Records that one mailbox sends in its turn, while others wait. */
  readonly quantumRecords: number
}

/** What one worker has and waits for. */
type Slot = {
  readonly worker: number
  up: boolean
  /** Records that may be there undecided, and that one mailbox sends in its turn. */
  readonly credit: number
  readonly quantum: number
  readonly ready: Fifo<Mailbox>
  readonly open: Set<Mailbox>
  records: number
  bytes: number
  forget: number[]
}

/**
 * The part of a worker's credit that one mailbox may use, though a turn of it at least: what hangs at the worker must not
 * keep out the others.
 */
const mailboxShare = 1 / 8

/**
 * Puts mailboxes on workers and sends their records, in turns, within each worker's credit. A mailbox stays with the
 * worker that holds its instance and may move when nothing of it is in flight there. Those in quarantine go to the extra
 * worker, one record at a time of all of them.
 */
export class Dispatcher {
  readonly #workers: Workers
  readonly #settings: DispatcherSettings
  readonly #quarantine: Quarantine
  readonly #clock: Clock
  /** The extra worker's is the last. */
  readonly #slots: readonly Slot[]
  #held = false

  constructor(workers: Workers, settings: DispatcherSettings, quarantine: Quarantine, clock: Clock) {
    this.#workers = workers
    this.#settings = settings
    this.#quarantine = quarantine
    this.#clock = clock
    const { workerCreditRecords: credit, quantumRecords: quantum } = settings
    this.#slots = Array.from({ length: workers.count + 1 }, (_, worker) => ({
      worker,
      ...(worker < workers.count ? { up: true, credit, quantum } : { up: false, credit: 1, quantum: 1 }),
      ready: new Fifo<Mailbox>(),
      open: new Set<Mailbox>(),
      records: 0,
      bytes: 0,
      forget: [],
    }))
  }

  /** Records at workers, not yet decided. */
  get inFlight(): number {
    return this.#slots.reduce((sum, slot) => sum + slot.records, 0)
  }

  get bytesInFlight(): number {
    return this.#slots.reduce((sum, slot) => sum + slot.bytes, 0)
  }

  /** Sends nothing any more: the daemon drains. */
  hold(): void {
    this.#held = true
  }

  /** The mailbox may have become dispatchable. Harmless when it has not, or when it waits for its turn already. */
  enqueue(mailbox: Mailbox): void {
    if (mailbox.ready || !mailbox.dispatchable) return
    if (!mailbox.open && mailbox.inFlightCount === 0) mailbox.worker = this.#workerFor(mailbox)
    const slot = this.#slots[mailbox.worker]
    if (slot === undefined || this.#hasItsShare(mailbox, slot)) return
    mailbox.ready = true
    slot.ready.push(mailbox)
  }

  /** The worker has answered for `item`: its credit is free again. */
  answered(mailbox: Mailbox, item: Item): void {
    const slot = this.#slots[mailbox.worker]
    if (slot === undefined) return
    slot.records--
    slot.bytes -= item.bytes
  }

  /** Before a mailbox's run is raised: the worker forgets it, and owes nothing for it any more. */
  withdraw(mailbox: Mailbox): void {
    const slot = this.#slots[mailbox.worker]
    if (slot === undefined) return
    // It may belong elsewhere now; its entry in the queue there is passed over.
    if (slot.worker === this.#workers.count) mailbox.ready = false
    if (!mailbox.open) return
    slot.records -= mailbox.inFlightCount
    slot.bytes -= mailbox.inFlightBytes
    slot.open.delete(mailbox)
    slot.forget.push(mailbox.id)
  }

  /** The thread has gone with all that it had. Returns the mailboxes that were open there. */
  workerLost(worker: number): Mailbox[] {
    const slot = this.#slots[worker]
    if (slot === undefined) return []
    slot.up = false
    const mailboxes = [...slot.open]
    slot.open.clear()
    slot.records = 0
    slot.bytes = 0
    slot.forget = []
    const waiting: Mailbox[] = []
    for (let mailbox = this.#nextReady(slot); mailbox !== undefined; mailbox = this.#nextReady(slot))
      // Those that are open go on when their runs have been taken back.
      if (!mailbox.open) waiting.push(mailbox)
    for (const mailbox of mailboxes) mailbox.open = false
    for (const mailbox of waiting) this.enqueue(mailbox)
    return mailboxes
  }

  workerReady(worker: number): void {
    const slot = this.#slots[worker]
    if (slot) slot.up = true
  }

  /** Whether the worker is there and has nothing to do. */
  idles(worker: number): boolean {
    const slot = this.#slots[worker]
    return slot !== undefined && slot.up && slot.records === 0 && slot.ready.length === 0
  }

  /** Tells workers what to forget and, with `more`, sends what credit allows. Called at the end of every event. */
  flush(more: boolean): void {
    this.#slots.forEach((slot, worker) => {
      if (slot.forget.length > 0) {
        this.#workers.forget(worker, slot.forget)
        slot.forget = []
      }
      if (!more || this.#held || slot.ready.length === 0) return
      if (!slot.up) {
        if (worker === this.#workers.count) this.#workers.openExtra()
        return
      }
      const dispatches = this.#fill(slot)
      if (dispatches.length > 0) this.#workers.dispatch(worker, dispatches)
    })
  }

  /** The next mailbox of the queue whose place is still here. */
  #nextReady(slot: Slot): Mailbox | undefined {
    let mailbox = slot.ready.shift()
    while (mailbox !== undefined && !(mailbox.ready && mailbox.worker === slot.worker)) mailbox = slot.ready.shift()
    if (mailbox !== undefined) mailbox.ready = false
    return mailbox
  }

  #fill(slot: Slot): Dispatch[] {
    const { workerCreditBytes } = this.#settings
    const { credit, quantum } = slot
    const dispatches: Dispatch[] = []
    const now = this.#clock.monotonic()
    while (slot.records < credit && slot.bytes < workerCreditBytes) {
      const mailbox = this.#nextReady(slot)
      if (mailbox === undefined) break
      if (mailbox.inFlightCount === 0) mailbox.runningSince = now
      const records: KafkaRecord[] = []
      let again: Map<number, string> | undefined
      while (
        records.length < quantum &&
        slot.records < credit &&
        mailbox.dispatchable &&
        !this.#hasItsShare(mailbox, slot)
      ) {
        const item = mailbox.takeNext()
        if (item === undefined) break
        records.push(item.record)
        const since = copySince(item)
        if (since !== null) again = (again ?? new Map()).set(item.record.offset, since)
        slot.records++
        slot.bytes += item.bytes
        if (slot.bytes >= workerCreditBytes) break
      }
      if (records.length === 0) continue
      const opening = this.#open(slot, mailbox)
      dispatches.push({ mailbox: mailbox.id, run: mailbox.run, opening, records, ...(again && { again }) })
      if (mailbox.dispatchable && !this.#hasItsShare(mailbox, slot)) {
        mailbox.ready = true
        slot.ready.push(mailbox)
      }
    }
    return dispatches
  }

  #hasItsShare({ inFlightCount, inFlightBytes }: Mailbox, { credit, quantum }: Slot): boolean {
    return (
      inFlightCount >= Math.max(quantum, credit * mailboxShare) ||
      (inFlightCount > 0 && inFlightBytes >= this.#settings.workerCreditBytes * mailboxShare)
    )
  }

  #open(slot: Slot, mailbox: Mailbox): Opening | null {
    if (mailbox.open) return null
    mailbox.open = true
    slot.open.add(mailbox)
    const { state, tenant, actor, partition } = mailbox
    mailbox.state = null
    const { topic, partition: number, lane } = partition
    return { actor: actor.index, topic, partition: number, tenant, lane, state }
  }

  #workerFor(mailbox: Mailbox): number {
    const extra = this.#workers.count
    if (this.#quarantine.holds(mailbox)) return extra
    let best = -1
    let load = Number.POSITIVE_INFINITY
    this.#slots.forEach((slot, worker) => {
      const own = slot.records + slot.open.size
      if (slot.up && worker !== extra && own < load) {
        best = worker
        load = own
      }
    })
    return best < 0 ? 0 : best
  }
}
