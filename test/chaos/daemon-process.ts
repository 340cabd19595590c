import { z } from 'zod'
import { eventually } from '../services.ts'
import { type CliResult, type RunningCli, startCli } from '../spawn-cli.ts'

const line = z.looseObject({ event: z.string() })
type Line = z.infer<typeof line>

/** A daemon in a process of its own, which can be killed, frozen, watched and asked. */
export class DaemonProcess {
  readonly #cli: RunningCli

  constructor(args: readonly string[], cwd: string, env: Readonly<Record<string, string>>) {
    this.#cli = startCli(['start', ...args], { cwd, env })
  }

  get pid(): number {
    const { pid } = this.#cli.child
    if (pid === undefined) throw new Error('the daemon could not be started')
    return pid
  }

  get running(): boolean {
    return this.#cli.child.exitCode === null && this.#cli.child.signalCode === null
  }

  get ended(): Promise<CliResult> {
    return this.#cli.ended
  }

  signal(name: NodeJS.Signals): void {
    this.#cli.child.kill(name)
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await this.ended
  }

  /** Waits for the end of a drain that was asked for by SIGTERM, and gives the exit code. */
  async stop(): Promise<number | null> {
    this.signal('SIGTERM')
    return (await this.ended).code
  }

  /** Its log lines with this event. */
  events(name: string): readonly Line[] {
    return this.#cli
      .stdout()
      .split('\n')
      .filter((text) => text.includes(`"event":"${name}"`))
      .flatMap((text) => line.safeParse(parsed(text)).data ?? [])
  }

  /** Resolves when its log has the event `count` times. */
  async until(name: string, count = 1, deadlineMs = 60_000): Promise<void> {
    await eventually(
      () => {
        if (!this.running && this.events(name).length < count) throw new Error(`it ended: ${this.tail()}`)
        return this.events(name).length >= count
      },
      { deadlineMs, what: `${count} x ${name} in a daemon's log (its end: ${this.tail()})` },
    )
  }

  /** A sample of its metrics, by name and labels as they are printed. */
  async metric(name: string): Promise<number> {
    const url = this.events('http.listening')[0]?.['url']
    if (typeof url !== 'string') throw new Error('the daemon does not listen yet')
    const text = await (await fetch(`${url}/metrics`)).text()
    const found = text.split('\n').find((sample) => sample.startsWith(`${name} `))
    return found === undefined ? 0 : Number(found.slice(name.length + 1))
  }

  /** The end of what it said. */
  tail(): string {
    return `${this.#cli.stdout().slice(-3_000)}${this.#cli.stderr().slice(-1_000)}`
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // the line is not whole yet
  }
}
