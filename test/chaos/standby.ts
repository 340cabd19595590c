import { execFileSync } from 'node:child_process'
import { chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { freePorts } from '../../cli/dev/ports.ts'
import { postgresData, postgresService, postgresUrl, wipePostgres } from '../../cli/dev/postgres.ts'
import type { Service } from '../../cli/dev/service.ts'
import { eventually } from '../services.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** A PostgreSQL that follows another one, asynchronously: what it has not received when the other dies is lost. */
export class Standby {
  readonly url: string
  /** What the other sends comes by this. */
  readonly stream: TcpProxy
  readonly #dir: string
  readonly #service: Service

  private constructor(dir: string, service: Service, url: string, stream: TcpProxy) {
    this.#dir = dir
    this.#service = service
    this.url = url
    this.stream = stream
  }

  /** Copies the running server whose folder is `primaryDir`, and resolves when the copy follows it. */
  static async of(primaryDir: string, primaryUrl: string): Promise<Standby> {
    const dir = mkdtempSync(join(tmpdir(), 'tenantry-standby-'))
    const { hostname, port } = new URL(primaryUrl)
    const stream = await TcpProxy.open()
    stream.lead(hostname, Number(port))
    const [own = 0] = await freePorts(1)
    const conninfo = `host=127.0.0.1 port=${stream.port} user=postgres application_name=standby`
    const service = postgresService({ dir, port: own, keep: false, settings: { primary_conninfo: conninfo } })
    const standby = new Standby(dir, service, postgresUrl(own), stream)
    await copy(primaryUrl, postgresData(primaryDir), postgresData(dir))
    await service.start()
    const sql = postgres(primaryUrl, { max: 1, onnotice() {} })
    try {
      await eventually(async () => (await sql`select from pg_stat_replication where state = 'streaming'`).length > 0, {
        deadlineMs: 60_000,
        what: 'the standby to follow',
      })
    } finally {
      await sql.end({ timeout: 1 })
    }
    return standby
  }

  /** Makes it a server of its own. */
  async promote(): Promise<void> {
    const sql = postgres(this.url, { max: 1, onnotice() {} })
    try {
      await sql`select pg_promote(true, 60)`
    } finally {
      await sql.end({ timeout: 1 })
    }
  }

  async wipe(): Promise<void> {
    await this.#service.kill()
    await this.stream.close()
    wipePostgres(this.#dir)
    rmSync(this.#dir, { recursive: true, force: true })
  }
}

/** A base backup by hand: pg_basebackup is not among the programs that come from npm. */
async function copy(primaryUrl: string, from: string, to: string): Promise<void> {
  const sql = postgres(primaryUrl, { max: 1, onnotice() {} })
  try {
    await sql`select pg_backup_start('standby', true)`
    mkdirSync(to, { mode: 0o700, recursive: true })
    // Files may come and go while they are copied; tar says so with 1.
    const leaveOut = ['postmaster.pid', 'postmaster.opts'].map((name) => `--exclude=./${name}`)
    execFileSync('sh', [
      '-c',
      `tar -C "$1" ${leaveOut.join(' ')} -cf - . | tar -C "$2" -xpf - ; test $? -le 1`,
      'sh',
      from,
      to,
    ])
    const [stopped] = await sql<{ labelfile: string; spcmapfile: string }[]>`
      select labelfile, spcmapfile from pg_backup_stop(false)`
    for (const [name, text] of [
      ['backup_label', stopped?.labelfile ?? ''],
      ['standby.signal', ''],
    ] as const) {
      writeFileSync(join(to, name), text)
      const { uid, gid } = statSync(from)
      chownSync(join(to, name), uid, gid)
    }
  } finally {
    await sql.end({ timeout: 1 })
  }
}
