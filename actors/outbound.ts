import type { MessagePort } from 'node:worker_threads'
import { loggableFacts, loggableText } from '../core/loggable.ts'
import type { Log } from '../core/log.ts'
import type { Decision } from '../core/workers.ts'
import { DecisionPacker, Told } from './decision-packer.ts'
import type { FromWorker, LogLine } from './thread-messages.ts'

/** Lines of log that a thread may send in a second; an actor that logs in a loop loses the rest, counted. */
const linesPerSecond = 1_000

/** A long frame is answered in parts, so that commits begin early. */
const decisionsPerFrame = 256

/** So are large ones: together they could be longer than a string may be. */
const bytesPerFrame = 1 << 20

/** Answers on their way out: together for what was handled together, and never more than a frame's worth late. */
export class Outbound {
  readonly #port: MessagePort
  readonly #told = new Told()
  /** By lane: a frame is of one commit's decisions as far as can be. */
  readonly #packers = new Map<number, DecisionPacker>()
  #lines: LogLine[] = []
  /** Lines that may still be sent in this second, and when it ends. */
  #allowed = linesPerSecond
  #secondMs = 0
  #dropped = 0
  #scheduled = false

  constructor(port: MessagePort) {
    this.#port = port
  }

  ready(): void {
    this.#post({ kind: 'ready' }, [])
  }

  /** At once, as the next thing that happens may be the thread's end. */
  began(message: Extract<FromWorker, { kind: 'began' }>): void {
    this.#post(message, [])
  }

  /** So many milliseconds have passed, about. */
  beat(ms: number): void {
    this.#secondMs += ms
    if (this.#secondMs < 1_000) return
    this.#secondMs = 0
    this.#allowed = linesPerSecond
    if (this.#dropped > 0) this.#schedule()
  }

  decide(decision: Decision, lane: number): void {
    let packer = this.#packers.get(lane)
    if (packer === undefined) {
      packer = new DecisionPacker(this.#told)
      this.#packers.set(lane, packer)
    }
    packer.add(decision)
    if (packer.count >= decisionsPerFrame || packer.size >= bytesPerFrame) this.flush()
    else this.#schedule()
  }

  readonly log: Log = {
    debug: (event, fields, sentence) => this.#line('debug', event, fields, sentence),
    info: (event, fields, sentence) => this.#line('info', event, fields, sentence),
    warn: (event, fields, sentence) => this.#line('warn', event, fields, sentence),
    error: (event, fields, sentence) => this.#line('error', event, fields, sentence),
  }

  flush(): void {
    for (const packer of this.#packers.values()) {
      if (packer.count === 0) continue
      const frame = packer.take()
      this.#post(frame, [frame.words.buffer, frame.bytes.buffer])
    }
    this.#told.rest()
    // Of lines that are dropped one by one it is told once a second.
    if (this.#lines.length === 0 && (this.#dropped === 0 || this.#allowed === 0)) return
    this.#post({ kind: 'log', lines: this.#lines, dropped: this.#dropped }, [])
    this.#lines = []
    this.#dropped = 0
  }

  /** A line as an actor wrote it: what cannot cross between threads goes as text. */
  #line(level: LogLine['level'], event: unknown, fields: unknown, sentence: unknown): void {
    if (this.#allowed === 0) {
      this.#dropped++
      return
    }
    this.#allowed--
    this.#schedule()
    this.#lines.push({
      level,
      event: loggableText(event),
      fields: loggableFacts(fields),
      sentence: loggableText(sentence),
    })
  }

  /** Handlers that finish in the same turn of the loop answer in one frame. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.flush()
    })
  }

  #post(message: FromWorker, transfer: ArrayBuffer[]): void {
    this.#port.postMessage(message, transfer)
  }
}
