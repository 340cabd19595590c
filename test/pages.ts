import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { childrenOf } from '../tools/setup/process.mjs'
import { checkout } from './runner/runtimes.ts'

/** What a page tells its reader to write, run or see: a fenced block, and the file that the line before it names. */
export type Block = { readonly language: string; readonly file: string | undefined; readonly text: string }

/** The fenced blocks of a page of the checkout, in order. */
export function blocksOf(page: string): readonly Block[] {
  const text = readFileSync(join(checkout, page), 'utf8')
  const fences = text.matchAll(/(?:^`([^`\n]+)`:\n\n)?^```(\w+)\n([\s\S]*?)^```$/gm)
  return [...fences].map(([, file, language = '', inside = '']) => ({ language, file, text: inside }))
}

/** The commands of a block, one a line. */
export function commandsOf({ text }: Block): readonly string[] {
  return text.split('\n').filter((line) => line !== '')
}

/** Whether a block runs the daemon, which a reader leaves in a terminal of its own. */
export function runsDaemon({ language, text }: Block): boolean {
  return language === 'sh' && /^npm run -s tenantry -- start (?!--check)/m.test(text)
}

export type TerminalOptions = {
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
}

/** A shell, as a reader has it: what one command sets, the next one finds. */
export class Terminal {
  readonly #shell: ChildProcess
  readonly #mark = `done-${randomBytes(6).toString('hex')}`
  #output = ''
  #arrived = arrival()

  constructor({ cwd, env }: TerminalOptions) {
    this.#shell = spawn('bash', ['--noprofile', '--norc'], { cwd, env, stdio: ['pipe', 'pipe', 'inherit'] })
    this.#shell.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text
      this.#arrived.resolve()
    })
    this.#shell.once('exit', () => this.#arrived.reject(new Error('the shell has ended')))
    this.#write('exec 2>&1')
  }

  /** Runs a command and returns what it has printed, both streams. Rejects when it fails. */
  async run(command: string): Promise<string> {
    this.#output = ''
    this.#write(`{ ${command}\n} < /dev/null; echo "${this.#mark}:$?"`)
    const end = new RegExp(`${this.#mark}:(\\d+)\\n`)
    for (;;) {
      const found = end.exec(this.#output)
      if (found) {
        const said = this.#output.slice(0, found.index).trimEnd()
        if (found[1] === '0') return said
        throw new Error(`${command}: ended with ${found[1] ?? ''}\n${said.slice(-3_000)}`)
      }
      await this.#arrived.promise
      this.#arrived = arrival()
    }
  }

  /** What the command that runs has printed so far. */
  said(): string {
    return this.#output
  }

  /** Ctrl-C, as it reaches the program that runs; those above it wait for its end. */
  interrupt(): void {
    let pid = this.#shell.pid
    for (let child = pid; child !== undefined; child = childrenOf(child).at(0)?.pid) pid = child
    if (pid !== undefined && pid !== this.#shell.pid) process.kill(pid, 'SIGINT')
  }

  async close(): Promise<void> {
    if (this.#shell.exitCode !== null || this.#shell.signalCode !== null) return
    const ended = once(this.#shell, 'exit')
    this.#shell.stdin?.end()
    await ended
  }

  #write(line: string): void {
    this.#shell.stdin?.write(`${line}\n`)
  }
}

/** Rejects when nothing can arrive any more, whether anybody waits or not. */
function arrival(): PromiseWithResolvers<void> {
  const next = Promise.withResolvers<void>()
  next.promise.catch(() => {})
  return next
}
