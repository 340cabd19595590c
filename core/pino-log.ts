import { pino } from 'pino'
import type { Clock } from './clock.ts'
import type { Facts } from './errors.ts'
import type { Log } from './log.ts'
import { LogOutput } from './log-output.ts'
import { loggableFacts, loggableText } from './loggable.ts'

type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

export type PinoLogOptions = {
  readonly clock: Clock
  readonly level: LogLevel
  /** Lines of one event within `repeatWindowMs`; further ones are counted, and summed up in one line. */
  readonly repeatLimit: number
  readonly repeatWindowMs: number
  /** Takes secrets out of a text. */
  readonly redact: (text: string) => string
  /** Where lines go; standard output where it is not given. */
  readonly destination?: { write(line: string): void; flush?(): void }
}

type Severity = Exclude<LogLevel, 'silent'>

type Window = { readonly from: number; lines: number; suppressed: number; readonly severity: Severity }

/** Events are names in the code, so there are few; past this something makes them up, and the count starts afresh. */
const maxEvents = 1_000

/**
 * JSON lines by pino, written at once and in this thread (`LogOutput`). Each line has `time`,
 * `level`, `event`, `msg` and its fields. An event that comes again and again is written `repeatLimit` times a window;
 * `flush` says how many more there were.
 */
export class PinoLog implements Log {
  readonly #options: PinoLogOptions
  readonly #pino: pino.Logger
  readonly #destination: NonNullable<PinoLogOptions['destination']>
  readonly #windows = new Map<string, Window>()

  constructor(options: PinoLogOptions) {
    this.#options = options
    const { clock, level } = options
    const settings: pino.LoggerOptions = {
      level,
      base: {},
      timestamp: () => `,"time":"${new Date(clock.now()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    }
    this.#destination = options.destination ?? new LogOutput()
    this.#pino = pino(settings, this.#destination)
  }

  debug(event: string, fields: Facts, sentence: string): void {
    this.#write('debug', event, fields, sentence)
  }

  info(event: string, fields: Facts, sentence: string): void {
    this.#write('info', event, fields, sentence)
  }

  warn(event: string, fields: Facts, sentence: string): void {
    this.#write('warn', event, fields, sentence)
  }

  error(event: string, fields: Facts, sentence: string): void {
    this.#write('error', event, fields, sentence)
  }

  /** Says what was counted and not written. Call it before the process ends. */
  flush(): void {
    this.#sumUpAll()
    this.#destination.flush?.()
  }

  #sumUpAll(): void {
    for (const [event, window] of this.#windows) this.#sumUp(event, window)
    this.#windows.clear()
  }

  /** The types say what is meant, not what comes: lines of actors arrive here, too. */
  #write(severity: Severity, name: unknown, fields: unknown, sentence: unknown): void {
    if (!this.#pino.isLevelEnabled(severity)) return
    const event = loggableText(name)
    if (this.#repeats(severity, event)) return
    this.#pino[severity]({ event, ...this.#safe(fields) }, this.#options.redact(loggableText(sentence)))
  }

  /** Whether this line is one too many of its event. */
  #repeats(severity: Severity, event: string): boolean {
    const { clock, repeatLimit, repeatWindowMs } = this.#options
    const now = clock.monotonic()
    let window = this.#windows.get(event)
    if (window === undefined || now - window.from >= repeatWindowMs) {
      if (window) this.#sumUp(event, window)
      if (this.#windows.size >= maxEvents) this.#sumUpAll()
      window = { from: now, lines: 0, suppressed: 0, severity }
      this.#windows.set(event, window)
    }
    if (window.lines >= repeatLimit) {
      if (window.suppressed++ === 0) clock.after(window.from + repeatWindowMs - now, () => this.#expire(event, window))
      return true
    }
    window.lines++
    return false
  }

  #expire(event: string, window: Window): void {
    if (this.#windows.get(event) !== window) return
    this.#windows.delete(event)
    this.#sumUp(event, window)
  }

  #sumUp(event: string, { suppressed, severity }: Window): void {
    if (suppressed === 0) return
    this.#pino[severity](
      { event: 'log.repeated', of: event, count: suppressed },
      `${suppressed} more lines of this event were left out.`,
    )
  }

  #safe(fields: unknown): Facts {
    const { redact } = this.#options
    const safe: Record<string, Facts[string]> = {}
    for (const [key, value] of Object.entries(loggableFacts(fields))) {
      if (typeof value === 'string') safe[key] = redact(value)
      else if (typeof value === 'object' && value !== null) safe[key] = value.map(redact)
      else safe[key] = value
    }
    return safe
  }
}
