import { writeSync } from 'node:fs'
import { systemClock } from './clock.ts'
import { codeOf, messageOf } from './errors.ts'

export type LogOutputOptions = {
  /** Takes bytes, and returns how many it took. Throws EAGAIN where there is no room now. */
  readonly sink?: (bytes: Uint8Array) => number
  /** Bytes that wait for a slow reader; lines that come then are lost. */
  readonly maxWaiting?: number
  /** Told why, when lines begin to be lost. */
  readonly losing?: (reason: string) => void
}

/** `lines` are those that are lost with it, and it is `cut` when a part of a line stands before its bytes. */
type Entry = { readonly bytes: Uint8Array; readonly lines: number; readonly cut: boolean }

const retryMs = 50
const flushMs = 1_000

/**
 * Standard output as a daemon's log needs it. A line is written at once, in this thread: what was logged before a crash is
 * there. But no log is worth a daemon: a slow reader is not waited for, and a full disk or a closed pipe ends nothing.
 * What cannot be written is lost, and the next line that can says how many were.
 */
export class LogOutput {
  readonly #options: Required<LogOutputOptions>
  #waiting: Entry[] = []
  #waitingBytes = 0
  #lost = 0
  /** Lines are being lost, and it has been told. */
  #losing = false
  /** The last line written has no end. */
  #cut = false
  #retrying = false

  constructor({ sink = toStdout, maxWaiting = 1_048_576, losing = onStderr }: LogOutputOptions = {}) {
    this.#options = { sink, maxWaiting, losing }
  }

  /** One line, with its end. Never throws. */
  write(line: string): void {
    this.#send()
    if (this.#waitingBytes >= this.#options.maxWaiting) return this.#lose(1, 'its reader is too slow')
    const before = `${this.#cut ? '\n' : ''}${this.#lost > 0 ? lostLine(this.#lost) : ''}`
    const bytes = Buffer.from(before + line)
    this.#waiting.push({ bytes, lines: this.#lost + 1, cut: this.#cut })
    this.#waitingBytes += bytes.length
    this.#lost = 0
    this.#cut = false
    this.#send()
  }

  /** Waits a moment for what is not written yet: to be called before the process ends. */
  flush(): void {
    const until = systemClock.monotonic() + flushMs
    while (this.#waiting.length > 0 && systemClock.monotonic() < until) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
      this.#send()
    }
  }

  #send(): void {
    if (this.#waiting.length === 0) return
    try {
      for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
        const taken = this.#options.sink(next.bytes)
        this.#waitingBytes -= taken
        if (taken === next.bytes.length) this.#waiting.shift()
        else this.#waiting[0] = { ...next, bytes: next.bytes.subarray(taken), cut: next.cut || taken > 0 }
      }
      this.#losing = false
    } catch (error) {
      if (codeOf(error) === 'EAGAIN') return this.#later()
      const lines = this.#waiting.reduce((sum, entry) => sum + entry.lines, 0)
      this.#cut = this.#waiting[0]?.cut ?? false
      this.#waiting = []
      this.#waitingBytes = 0
      this.#lose(lines, messageOf(error))
    }
  }

  #later(): void {
    if (this.#retrying) return
    this.#retrying = true
    systemClock.after(retryMs, () => {
      this.#retrying = false
      this.#send()
    })
  }

  #lose(lines: number, reason: string): void {
    this.#lost += lines
    if (this.#losing) return
    this.#losing = true
    this.#options.losing(reason)
  }
}

function lostLine(count: number): string {
  const time = new Date(systemClock.now()).toISOString()
  const msg = `${count} lines could not be written, and are lost.`
  return `${JSON.stringify({ level: 'warn', time, event: 'log.lost', count, msg })}\n`
}

function toStdout(bytes: Uint8Array): number {
  return writeSync(1, bytes)
}

let told = false

/** Once: a closed pipe stays closed. Who reads neither hears nothing, and the daemon goes on. */
function onStderr(reason: string): void {
  if (told) return
  told = true
  try {
    writeSync(2, `The log cannot be written (${reason}): lines are lost until it can be again. The daemon goes on.\n`)
  } catch {}
}
