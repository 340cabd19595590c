import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readlinkSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const size = '64m'
const mounted = '/mnt'

/**
 * A disk that is soon full, for a server that runs already: a tmpfs in a mount namespace of its own, which takes no
 * rights. A process holds it, and whoever runs as the server does reaches it by that process's root. It ends with us.
 */
export class SmallDisk {
  readonly #holder: ChildProcess
  /** Where it is, for us and for the server. */
  readonly folder: string

  private constructor(holder: ChildProcess) {
    this.#holder = holder
    this.folder = join('/proc', String(holder.pid), 'root', mounted)
  }

  /** For the server with this process id. Rejects where the machine allows no such namespaces. */
  static async open(server: number): Promise<SmallDisk> {
    const script = `mount -t tmpfs -o size=${size},mode=0700 small ${mounted} && echo mounted && exec cat`
    const command = [...entering(server), 'unshare', '-Urm', 'sh', '-c', script]
    // Its standard input is ours: it ends when we do, however that is.
    const holder = spawn(command[0] ?? '', command.slice(1), { stdio: ['pipe', 'pipe', 'ignore'] })
    const lines = createInterface({ input: holder.stdout })
    const mounts = await Promise.race([once(lines, 'line').then(() => true), once(lines, 'close').then(() => false)])
    if (!mounts) throw new Error('this machine lets nobody mount a disk of their own')
    return new SmallDisk(holder)
  }

  /** Leaves no room on it. */
  fill(): void {
    const file = openSync(this.#filler, 'w')
    const piece = Buffer.alloc(64 * 1024)
    try {
      for (let length = piece.length; length >= 1; ) {
        try {
          writeSync(file, piece, 0, length)
        } catch {
          length >>= 1
        }
      }
    } finally {
      closeSync(file)
    }
  }

  /** There is room again. */
  clear(): void {
    rmSync(this.#filler, { force: true })
  }

  async close(): Promise<void> {
    const ended = once(this.#holder, 'exit')
    this.#holder.stdin?.end()
    await ended
  }

  get #filler(): string {
    return join(this.folder, 'filler')
  }
}

/** Set-up runs a server in a user namespace where we are root: only who is in it, too, may make a disk for it. */
function entering(server: number): readonly string[] {
  const own = readlinkSync('/proc/self/ns/user') === readlinkSync(`/proc/${server}/ns/user`)
  return own ? [] : ['nsenter', '--user', '--target', String(server), '--preserve-credentials']
}
