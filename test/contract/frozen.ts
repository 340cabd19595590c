import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { eventually } from '../services.ts'

export const frozenOptions = z.object({
  driver: z.enum(['confluent', 'platformatic']),
  bootstrap: z.array(z.string()),
  group: z.string(),
  topic: z.string(),
  protocol: z.enum(['consumer', 'classic']),
  sessionTimeoutMs: z.number(),
})

export type FrozenOptions = z.infer<typeof frozenOptions>

/** A member in a process of its own, which can be stopped in its tracks. */
export class Frozen {
  readonly events: string[] = []
  readonly #replies: string[] = []
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
    if (!child.stdout) throw new Error('the process has no output')
    createInterface({ input: child.stdout }).on('line', (line) => {
      const reply = line.startsWith('reply ') ? line.slice(6) : undefined
      if (reply === undefined) this.events.push(line)
      else this.#replies.push(reply)
    })
  }

  static async start(options: FrozenOptions): Promise<Frozen> {
    const program = fileURLToPath(new URL('frozen-member.ts', import.meta.url))
    const child = spawn(process.execPath, [program, JSON.stringify(options)], { stdio: ['pipe', 'pipe', 'inherit'] })
    await once(child, 'spawn')
    return new Frozen(child)
  }

  freeze(): void {
    this.#child.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child.kill('SIGCONT')
  }

  /** Has it commit for the partition it was assigned first. */
  async commit(): Promise<string> {
    const before = this.#replies.length
    this.#child.stdin?.write('commit\n')
    await eventually(() => this.#replies.length > before, { deadlineMs: 30_000, what: 'an answer to a commit' })
    return this.#replies.at(-1) ?? ''
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
  }
}
