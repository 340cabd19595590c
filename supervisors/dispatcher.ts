import type { Clock } from '../core/clock.ts'
import { Fifo } from '../core/fifo.ts'
import type { KafkaRecord } from '../core/kafka/source.ts'
import { copySince } from '../core/postgres/transactions.ts'
import type { Dispatch, Opening, Workers } from '../core/workers.ts'
import type { LoneRuns } from './lone-runs.ts'
import type { Item } from './item.ts'
import type { Mailbox } from './mailbox.ts'
import type { Quarantine } from './quarantine.ts'
import { slowAfterMs, WorkerCredit } from './worker-credit.ts'

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
  readonly credit: WorkerCredit
  /** Records that one mailbox may have there, and that it sends in its turn. */
  readonly most: number
  readonly quantum: number
  readonly ready: Fifo<Mailbox>
  /** Before all others, and alone there until it has had its turn. */
  first: Mailbox | null
  readonly open: Set<Mailbox>
  forget: number[]
}

/** The part of a worker's credit that one mailbox may use, though a turn of it at least. */
const mailboxShare = 1 / 8

/**
 * Puts mailboxes on workers and sends their records, in turns, within each worker's credit. A mailbox stays with the
 * worker that holds its instance and may move when nothing of it is in flight there. Those in quarantine go to the extra
 * worker, one record at a time of all of them.
 */
export class Dispatcher {
  readonly #workers: Workers
  readonly #lone: LoneRuns
  readonly #settings: DispatcherSettings
  readonly #quarantine: Quarantine
  readonly #clock: Clock
  readonly #settled: () => void
  /** The extra worker's is the last. */
  readonly #slots: readonly Slot[]
  #held = false
  /** Runs while mailboxes wait for credit. */
  #looking = false

  /** `lone`: the way to the extra worker. `settled`: at the end of an event of this one's own. */
  constructor(
    workers: Workers,
    lone: LoneRuns,
    settings: DispatcherSettings,
    quarantine: Quarantine,
    clock: Clock,
    settled: () => void,
  ) {
    this.#workers = workers
    this.#lone = lone
    this.#settings = settings
    this.#quarantine = quarantine
    this.#clock = clock
    this.#settled = settled
    const { workerCreditRecords: credit, workerCreditBytes: bytes, quantumRecords: quantum } = settings
    const share = { up: true, most: Math.max(quantum, credit * mailboxShare), quantum }
    this.#slots = Array.from({ length: workers.count + 1 }, (_, worker) => ({
      worker,
      ...(worker < workers.count ? share : { up: false, most: 1, quantum: 1 }),
      credit: new WorkerCredit(worker < workers.count ? credit : 1, bytes),
      ready: new Fifo<Mailbox>(),
      first: null,
      open: new Set<Mailbox>(),
      forget: [],
    }))
  }

  /** Records at workers, not yet decided. */
  get inFlight(): number {
    return this.#slots.reduce((sum, { credit }) => sum + credit.records, 0)
  }

  /** Sends nothing any more: the daemon drains, or has ended. */
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
    this.#slots[mailbox.worker]?.credit.answered(mailbox, item)
  }

  /** Before a mailbox's run is raised: the worker forgets it, and owes nothing for it any more. */
  withdraw(mailbox: Mailbox): void {
    const slot = this.#slots[mailbox.worker]
    if (slot === undefined) return
    // It may belong elsewhere now; its entry in the queue there is passed over.
    if (slot.worker === this.#workers.count) mailbox.ready = false
    if (!mailbox.open) return
    slot.credit.withdrawn(mailbox)
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
    slot.credit.lost(mailboxes)
    slot.forget = []
    const waiting: Mailbox[] = []
    for (let mailbox = this.#nextReady(slot); mailbox !== undefined; mailbox = this.#nextReady(slot))
      // Those that are open go on when their runs have been taken back.
      if (!mailbox.open) waiting.push(mailbox)
    for (const mailbox of mailboxes) mailbox.open = false
    for (const mailbox of waiting) this.enqueue(mailbox)
    return mailboxes
  }

  /** The mailbox is the next to run on the extra worker, before anything else does there. */
  runFirst(mailbox: Mailbox): void {
    const slot = this.#slots[this.#workers.count]
    if (slot) slot.first = mailbox
  }

  workerReady(worker: number): void {
    const slot = this.#slots[worker]
    if (slot) slot.up = true
  }

  hasRecords(worker: number): boolean {
    const slot = this.#slots[worker]
    return slot !== undefined && slot.credit.records > 0
  }

  /** Whether the worker is there and has nothing to do. */
  idles(worker: number): boolean {
    const slot = this.#slots[worker]
    return slot !== undefined && slot.up && slot.ready.length === 0 && !this.hasRecords(worker)
  }

  /** Tells workers what to forget and, with `more`, sends what credit allows. Called at the end of every event. */
  flush(more: boolean): void {
    const extra = this.#workers.count
    this.#slots.forEach((slot, worker) => {
      if (slot.forget.length > 0) {
        if (worker === extra) this.#lone.forget(slot.forget)
        this.#workers.forget(worker, slot.forget)
        slot.forget = []
      }
      if (!more || this.#held || slot.ready.length === 0) return
      if (!slot.up) {
        if (worker === extra) this.#workers.openExtra()
        return
      }
      const dispatches = this.#fill(slot)
      if (worker === extra) for (const dispatch of dispatches) this.#lone.dispatch(dispatch)
      else if (dispatches.length > 0) this.#workers.dispatch(worker, dispatches)
      if (isStarved(slot)) this.#lookSoon()
    })
  }

  /** While mailboxes wait for credit it is looked who has it and does not go on. */
  #lookSoon(): void {
    if (this.#looking) return
    this.#looking = true
    this.#clock.after(slowAfterMs / 2, () => this.#look())
  }

  #look(): void {
    this.#looking = false
    if (this.#held) return
    const now = this.#clock.monotonic()
    let found = false
    for (const slot of this.#slots) {
      // One record at a time is suspected of what becomes of the extra worker.
      if (slot.worker === this.#workers.count || !isStarved(slot)) continue
      if (slot.credit.setAside(slot.open, now)) found = true
      else this.#lookSoon()
    }
    if (found) this.#settled()
  }

  /** The one that goes first, which may yet have to get ready; else the next of the queue whose place is still here. */
  #next(slot: Slot): Mailbox | undefined {
    const { first } = slot
    if (first === null) return this.#nextReady(slot)
    if (!first.ready && this.#quarantine.holds(first) && isGettingReady(first)) return undefined
    slot.first = null
    if (!first.ready || first.worker !== slot.worker) return this.#nextReady(slot)
    first.ready = false
    return first
  }

  /** The next mailbox of the queue whose place is still here. */
  #nextReady(slot: Slot): Mailbox | undefined {
    let mailbox = slot.ready.shift()
    while (mailbox !== undefined && !(mailbox.ready && mailbox.worker === slot.worker)) mailbox = slot.ready.shift()
    if (mailbox !== undefined) mailbox.ready = false
    return mailbox
  }

  #fill(slot: Slot): Dispatch[] {
    const { credit, quantum } = slot
    const dispatches: Dispatch[] = []
    const now = this.#clock.monotonic()
    while (credit.isLeft) {
      const mailbox = this.#next(slot)
      if (mailbox === undefined) break
      if (mailbox.inFlightCount === 0) mailbox.runningSince = now
      const records: KafkaRecord[] = []
      let again: Map<number, string> | undefined
      while (records.length < quantum && credit.isLeft && mailbox.dispatchable && !this.#hasItsShare(mailbox, slot)) {
        const item = mailbox.takeNext()
        if (item === undefined) break
        records.push(item.record)
        const since = copySince(item)
        if (since !== null) again = (again ?? new Map()).set(records.length - 1, since)
        credit.took(item)
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

  #hasItsShare(mailbox: Mailbox, { credit, most }: Slot): boolean {
    const { inFlightCount, inFlightBytes } = mailbox
    return (
      inFlightCount >= Math.min(credit.windowOf(mailbox), most) ||
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
      const own = slot.credit.records + slot.open.size
      if (slot.up && worker !== extra && own < load) {
        best = worker
        load = own
      }
    })
    return best < 0 ? 0 : best
  }
}

/** It has something to send as soon as its state is read, or what it decided is committed. */
function isGettingReady({ closed, stuck, queuedCount }: Mailbox): boolean {
  return !closed && !stuck && queuedCount > 0
}

/** Mailboxes wait, and the worker may have nothing more. */
function isStarved({ up, ready, credit }: Slot): boolean {
  return up && ready.length > 0 && !credit.isLeft
}
