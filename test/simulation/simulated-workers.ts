import type { KafkaRecord } from '../../core/kafka/source.ts'
import type { Decision, Dispatch, Executing, Workers, WorkersListener } from '../../core/workers.ts'
import type { Chaos } from './chaos.ts'
import type { EventLoop, Process } from './event-loop.ts'
import { messageIn } from './message.ts'
import { type Chain, chainOf, emptyChain, handle } from './handler.ts'
import type { ProbeWatch } from './probe-watch.ts'
import type { SeededRandom } from './seeded-random.ts'

export type SimulatedActor = {
  readonly group: string
  readonly topic: string
  readonly name: string
  readonly stateful: boolean
  readonly serial: boolean
  readonly offsetMode: boolean
  /** It has dependencies: a copy that its worker knows is not handled. */
  readonly looksUp: boolean
}

export type SimulatedWorkersOptions = {
  readonly count: number
  readonly loop: EventLoop
  readonly process: Process
  readonly random: SeededRandom
  readonly chaos: Chaos
  readonly actors: readonly SimulatedActor[]
  /** Whether a key has been committed, for a record that runs again since then. */
  readonly known: (key: string, since: string | null) => boolean
  /** Whether the dependency serves the tenant now. */
  readonly serves: (tenant: string) => boolean
  readonly knowsTables: () => boolean
  readonly watch: ProbeWatch
  /** The process ends. */
  readonly die: () => void
  /** How many threads a message has killed, by its id. */
  readonly killed: Map<string, number>
  /** Messages that are poison no more. */
  readonly mended: ReadonlySet<string>
  readonly breach: (what: string) => void
}

/** A mailbox as a thread has it. */
type Box = {
  readonly run: number
  readonly actor: SimulatedActor
  readonly tenant: string
  readonly queue: KafkaRecord[]
  /** Copies of what was committed when they came. */
  readonly copies: Set<KafkaRecord>
  /** What this run has done. */
  readonly ids: Set<string>
  chain: Chain
  failed: boolean
}

type Thread = {
  readonly number: number
  generation: number
  up: boolean
  starting: boolean
  readonly boxes: Map<number, Box>
  busy: boolean
  /** Whether what it had said before its last death is heard. */
  heard: boolean
  heardAt: number
  toldAt: number
}

/** A thread that does not answer for so long is lost. */
const blockLimitMs = 1_000

/** What some records came to, and the one that the thread does not survive, if any. */
type Handled = {
  readonly decisions: Decision[]
  readonly end?: { mailbox: number; record: KafkaRecord; blocks: boolean }
}

/**
 * Threads that run the simulated actor. Each answers its mailboxes in any order, one mailbox strictly in its own, in
 * batches of any size; a port to a thread keeps the order of what goes through it, both ways.
 */
export class SimulatedWorkers implements Workers {
  readonly count: number
  readonly #options: SimulatedWorkersOptions
  readonly #threads: readonly Thread[]
  #listener: WorkersListener | null = null

  constructor(options: SimulatedWorkersOptions) {
    this.count = options.count
    this.#options = options
    this.#threads = Array.from({ length: options.count + 1 }, (_, number) => ({
      number,
      generation: 0,
      up: number < options.count,
      starting: false,
      boxes: new Map<number, Box>(),
      busy: false,
      heard: false,
      heardAt: 0,
      toldAt: 0,
    }))
  }

  start(listener: WorkersListener): void {
    this.#listener = listener
  }

  dispatch(worker: number, dispatches: readonly Dispatch[]): void {
    const { chaos, process, watch } = this.#options
    for (const dispatch of dispatches) watch.dispatched(worker, dispatch)
    this.#send(worker, 'dispatch', (thread) => {
      for (const dispatch of dispatches) this.#take(thread, dispatch)
      this.#work(thread)
    })
    chaos.at('dispatched', process)
  }

  forget(worker: number, mailboxes: readonly number[]): void {
    this.#options.watch.forgotten(mailboxes)
    this.#send(worker, 'forget', (thread) => {
      for (const id of mailboxes) thread.boxes.delete(id)
    })
  }

  openExtra(): void {
    const extra = this.#threads[this.count]
    if (extra === undefined || extra.up || extra.starting) return
    this.#options.chaos.mark('the extra thread')
    this.#starts(extra, this.#options.random.delay(100))
  }

  closeExtra(): void {
    const extra = this.#threads[this.count]
    if (extra === undefined) return
    if ([...extra.boxes.values()].some(({ queue }) => queue.length > 0))
      this.#options.breach('the extra thread was ended with records')
    this.#options.chaos.mark('the extra thread was ended')
    extra.generation++
    extra.up = false
    extra.busy = false
    extra.boxes.clear()
  }

  /** The thread dies, of something outside. What others executed may be blamed, but on the extra thread nobody is. */
  lose(worker: number): void {
    const thread = this.#threads[worker]
    if (thread === undefined || !thread.up) return
    this.#dies(thread, worker === this.count ? [] : this.#others(thread))
  }

  /** What it has answered may still be heard, then that it has gone, then that another is there. */
  #dies(thread: Thread, executing: readonly Executing[]): void {
    const { loop, process, random, chaos } = this.#options
    // A thread may count as lost before it has ended: what it still answers is of runs that are over.
    const late = chaos.happens('late decision') ? this.#some(thread).decisions : []
    thread.generation++
    thread.up = false
    thread.busy = false
    thread.heard = random.chance(0.5)
    thread.boxes.clear()
    this.#tell(thread, 'worker lost', () => {
      this.#options.watch.lost(thread.number)
      this.#listener?.lost(thread.number, new Error('the thread has ended'), executing)
      if (late.length > 0)
        loop.after(random.delay(20), 'late decisions', () => this.#heard(thread.number, late), process)
    })
    if (thread.number < this.count) this.#starts(thread, thread.toldAt - loop.now + random.delay(100))
  }

  #starts(thread: Thread, ms: number): void {
    thread.starting = true
    this.#options.loop.after(
      ms,
      'worker ready',
      () => {
        thread.starting = false
        thread.up = true
        this.#listener?.ready(thread.number)
      },
      this.#options.process,
    )
  }

  /** Mailboxes that had begun a record beside the one that ended the thread. */
  #others(thread: Thread, killer = -1): Executing[] {
    const waiting = [...thread.boxes].filter(
      ([mailbox, { queue, failed }]) => mailbox !== killer && queue.length > 0 && !failed,
    )
    return waiting.flatMap(([mailbox, { queue }]) => {
      const [record] = queue
      if (record === undefined || this.#options.random.chance(0.4)) return []
      this.#options.chaos.mark('an innocent suspect')
      return [{ mailbox, offset: record.offset }]
    })
  }

  #killed(thread: Thread, { decisions, end }: Required<Handled>): void {
    const { loop, process, random, chaos } = this.#options
    const { generation } = thread
    const { mailbox, record, blocks } = end
    const { id, kind } = messageIn(record)
    const box = thread.boxes.get(mailbox)
    if (box === undefined) return
    chaos.mark(thread.number === this.count ? 'killed alone' : 'killed')
    const key = box.actor.offsetMode ? null : { uuid: id, day: 0 }
    const identity = { key, type: kind, traceId: '', messageId: id }
    const own = { mailbox, offset: record.offset, ...(thread.number === this.count && { identity }) }
    const executing = [...this.#others(thread, mailbox), own]
    // Its last words may get out, or not.
    if (random.chance(0.5)) this.#answer(thread, decisions)
    if (!blocks) return this.#dies(thread, executing)
    loop.after(
      blockLimitMs + random.delay(100),
      'noticed',
      () => {
        if (thread.generation === generation) this.#dies(thread, executing)
      },
      process,
    )
  }

  #send(worker: number, label: string, arrives: (thread: Thread) => void): void {
    const thread = this.#threads[worker]
    const { loop, process, random } = this.#options
    if (thread === undefined || process.state === 'dead') return
    const { generation } = thread
    if (!thread.up) return
    thread.heardAt = Math.max(thread.heardAt, loop.now + random.delay(0.3))
    loop.after(
      thread.heardAt - loop.now,
      label,
      () => {
        if (thread.generation === generation) arrives(thread)
      },
      process,
    )
  }

  #tell(thread: Thread, label: string, tells: () => void): void {
    const { loop, process, random } = this.#options
    thread.toldAt = Math.max(thread.toldAt, loop.now + random.delay(0.3))
    loop.after(thread.toldAt - loop.now, label, tells, process)
  }

  #take(thread: Thread, { mailbox, run, opening, records, again }: Dispatch): void {
    const { breach, actors, known } = this.#options
    let box = thread.boxes.get(mailbox)
    if (opening) {
      const actor = actors[opening.actor]
      if (actor === undefined) throw new Error(`there is no actor ${opening.actor}`)
      box = {
        run,
        actor,
        tenant: opening.tenant,
        queue: [],
        copies: new Set(),
        ids: new Set(),
        chain: opening.state ? chainOf(opening.state.json) : emptyChain,
        failed: false,
      }
      thread.boxes.set(mailbox, box)
    }
    if (box?.run !== run) {
      breach(
        `records of run ${run} for mailbox ${mailbox}, which the worker has ${box ? `open for run ${box.run}` : 'not open'}`,
      )
      return
    }
    box.queue.push(...records)
    for (const [place, record] of box.actor.looksUp ? records.entries() : []) {
      const { id } = messageIn(record)
      const since = again?.get(place) ?? null
      if (known(`${box.actor.group}/${box.tenant}/${id}`, since)) box.copies.add(record)
    }
    if (box.actor.serial && box.queue.length > 1) breach(`a serial actor was sent ${box.queue.length} records at once`)
  }

  /** Handles some records of some mailboxes, answers them, and comes back while there are more. */
  #work(thread: Thread): void {
    if (thread.busy) return
    const { loop, process, random, chaos } = this.#options
    const { generation } = thread
    thread.busy = true
    const slow = chaos.happens('slow handler') ? random.delay(1_500) : 0
    loop.after(
      slow + random.delay(2),
      'work',
      () => {
        if (thread.generation !== generation) return
        const { decisions, end } = this.#some(thread)
        if (end !== undefined) return this.#killed(thread, { decisions, end })
        thread.busy = false
        if (decisions.length > 0) this.#answer(thread, decisions)
        if ([...thread.boxes.values()].some((box) => box.queue.length > 0 && !box.failed)) this.#work(thread)
      },
      process,
    )
  }

  #some(thread: Thread): Handled {
    const { random, chaos } = this.#options
    const decisions: Decision[] = []
    const limit = random.pick([1, 5, 30, 200])
    for (const [mailbox, box] of thread.boxes) {
      if (box.queue.length === 0 || box.failed || random.chance(0.3)) continue
      const count = random.between(1, box.queue.length)
      for (let i = 0; i < count && decisions.length < limit && !box.failed; i++) {
        const record = box.queue.shift()
        if (record === undefined) break
        const { id, kind } = messageIn(record)
        if (box.copies.delete(record) || box.ids.has(id)) {
          chaos.mark('a copy that a worker knew')
          const outcome = { kind: 'duplicate' as const, messageId: id, type: kind, traceId: '' }
          decisions.push({ mailbox, run: box.run, offset: record.offset, outcome })
          continue
        }
        if (kind === 'ends all' && !this.#options.mended.has(id)) {
          chaos.mark(thread.number === this.count ? 'a process ended by one alone' : 'a process ended')
          this.#options.die()
          return { decisions: [] }
        }
        const end = this.#ends(mailbox, record)
        if (end !== undefined) return { decisions, end }
        const { outcome, chain } = handle(record, box.chain, {
          ...box.actor,
          flaky: chaos.happens('handler fails'),
          lacking: !this.#options.knowsTables(),
          mended: this.#options.mended.has(id),
          served: box.actor.looksUp ? this.#options.serves(box.tenant) : null,
        })
        if (outcome.kind === 'failed' && outcome.failure.dependency !== undefined) chaos.mark('dependency away')
        if (box.actor.looksUp && outcome.kind === 'done') box.ids.add(id)
        box.chain = chain
        box.failed = outcome.kind === 'failed'
        decisions.push({ mailbox, run: box.run, offset: record.offset, outcome })
      }
    }
    return { decisions }
  }

  #ends(mailbox: number, record: KafkaRecord): Handled['end'] {
    const { killed } = this.#options
    const { id, kind } = messageIn(record)
    if (kind !== 'kills' && kind !== 'kills twice' && kind !== 'blocks') return undefined
    const times = killed.get(id) ?? 0
    if (kind === 'kills twice' && times >= 2) return undefined
    killed.set(id, times + 1)
    return { mailbox, record, blocks: kind === 'blocks' }
  }

  #answer(thread: Thread, decisions: readonly Decision[]): void {
    const { chaos, process } = this.#options
    const { generation } = thread
    this.#tell(thread, 'decided', () => {
      // What a lost thread had answered was decided; later than its loss it is an older run's.
      if (thread.generation === generation || thread.heard) this.#heard(thread.number, decisions)
      chaos.at('decided', process)
    })
  }

  #heard(worker: number, decisions: readonly Decision[]): void {
    this.#options.watch.decided(decisions)
    this.#listener?.decided(worker, decisions)
  }
}
