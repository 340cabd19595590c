import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import postgres from 'postgres'
import { messageOf } from '../../core/errors.ts'
import { programOf } from '../../tools/run/runtime.ts'
import { tooLate } from '../services.ts'
import { SeededRandom } from '../simulation/seeded-random.ts'
import { Crew, type Post } from './crew.ts'
import { type Fault, type Ground, seconds } from './fault.ts'
import { Findings } from './findings.ts'
import { Inspector } from './inspector.ts'
import type { Verdict } from './judge.ts'
import { type Round, rounds, type Stroke } from './schedule.ts'
import { Site } from './site.ts'
import { tinyOutboxRows } from './configuration.ts'
import { Stage } from './stage.ts'
import { unlessAborted, within } from './patience.ts'
import { Watch } from './watch.ts'

export type ChaosOptions = {
  readonly minutes: number
  readonly seed: string
  readonly faults: readonly Fault[]
  readonly perSecond: number
  /** All logs are kept in this folder. */
  readonly logs?: string
  /** Everything is undone when this aborts. */
  readonly signal: AbortSignal
  /** Takes what is going on, a line each. */
  readonly say: (text: string) => void
}

/** One fault that was injected. */
type Injected = {
  readonly name: string
  readonly detail: string
  /** From its end, or that of the last one that came before it was over, until all went on as before. */
  readonly recoveryMs: number
}

export type ChaosReport = {
  readonly seed: string
  readonly daemons: readonly string[]
  readonly injected: readonly Injected[]
  readonly verdict: Verdict
  readonly findings: readonly string[]
  readonly most: Inspector['most']
}

/** All has to go on as before within this time after the last fault, where the machine is not too busy. */
const recoveryDeadlineMs = 60_000
/** For what is left when the load has ended. */
const drainDeadlineMs = 180_000
const readyDeadlineMs = 20_000
/** A fault that lasts so long must show in readiness. */
const shownAfterMs = 8_000
/** Done is what is less than so many seconds of the load behind. */
const behindSeconds = 1.5
/** For each step of cleaning up: what takes longer is left to whoever finds it. */
const undoDeadlineMs = 45_000

/** Runs daemons under load on a cluster of their own and injects faults, then lets everything drain and checks it all. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { seed, signal, say } = options
  const random = new SeededRandom(`chaos ${seed}`)
  const dir = mkdtempSync(join(tmpdir(), 'tenantry-chaos-site-'))
  const undo: (() => Promise<unknown>)[] = [async () => rmSync(dir, { recursive: true, force: true })]
  try {
    const drawn = drawPosts(random.fork('crew'))
    say(`seed ${seed}: starting three brokers, PostgreSQL and Redis in ${dir}`)
    const site = await Site.open(dir, drawn.length)
    undo.push(() => site.wipe())
    undo.push(async () => {
      if (options.logs !== undefined) cpSync(join(dir, 'log'), options.logs, { recursive: true })
    })
    signal.throwIfAborted()
    const { kafkaAddress: kafka, postgresUrl } = site.services
    const stage = await Stage.create({ kafka, postgres: postgresUrl, replicas: 3, poison: true })
    undo.push(() => stage.end(options.logs))
    const findings = new Findings(say)
    const posts = drawn.map((post, i): Post => ({ ...post, link: post.proxied ? site.links[i] : undefined }))
    const settings = drawSettings(random.fork('settings'))
    const crew = new Crew(site, stage, posts, settings, findings)
    undo.push(async () => crew.end())
    const names = posts.map(({ name }) => name)
    say(`daemons: ${names.join(', ')}; with ${settings.join(' ')}`)
    const sql = postgres(postgresUrl, { max: 2, connect_timeout: 5, onnotice() {} })
    undo.push(() => sql.end({ timeout: 1 }))
    const ground: Ground = { site, stage, crew, sql, random, signal }
    const watch = new Watch(stage)
    undo.push(() => watch.stop())
    const inspector = new Inspector(crew, findings)
    undo.push(() => inspector.stop())
    for (const member of crew.members) await crew.start(member)
    stage.feed(options.perSecond)
    const storm = new Storm(ground, options, watch, inspector, findings)
    await storm.calm()
    say(`the load is on: faults for ${options.minutes} min`)
    const until = performance.now() + options.minutes * 60_000
    for (const round of rounds(options.faults, random.fork('faults'))) {
      if (signal.aborted || performance.now() >= until || storm.lost) break
      await storm.endure(round)
    }
    signal.throwIfAborted()
    say('the last fault is over: everything must drain')
    const verdict = await unlessAborted(drained(stage, crew, findings), signal)
    return { seed, daemons: names, injected: storm.injected, verdict, findings: findings.all, most: inspector.most }
  } finally {
    for (const one of undo.reverse())
      await within(undoDeadlineMs, one()).catch((error: unknown) => say(`cleaning up: ${messageOf(error)}`))
  }
}

async function drained(stage: Stage, crew: Crew, findings: Findings): Promise<Verdict> {
  for (const member of crew.members) await crew.start(member)
  await stage
    .drain(drainDeadlineMs)
    .catch((error: unknown) => findings.add(`it did not drain: ${messageOf(error).slice(0, 200)}`))
  for (const member of crew.members) await crew.dismiss(member)
  crew.end()
  return stage.judge()
}

/** Two to four daemons of different makes; one of them may go straight to the servers. */
function drawPosts(random: SeededRandom): (Omit<Post, 'link'> & { readonly proxied: boolean })[] {
  const makes = [
    { runtime: 'node', driver: 'confluent' },
    { runtime: 'bun', driver: 'platformatic' },
    { runtime: 'node', driver: 'platformatic' },
    { runtime: 'node', driver: 'confluent' },
  ] as const
  const possible = makes.filter(({ runtime }) => programOf(runtime) !== undefined)
  const count = random.between(2, possible.length)
  const first = random.below(possible.length)
  return Array.from({ length: count }, (_, i) => {
    const make = possible[(first + i) % possible.length] ?? makes[0]
    const set = i === 0 ? [`backpressure.outboxRows=${tinyOutboxRows}`] : []
    return {
      ...make,
      set,
      name: `daemon ${i + 1} (${make.runtime}, ${make.driver})`,
      proxied: i < 2 || random.chance(0.5),
    }
  })
}

function drawSettings(random: SeededRandom): readonly string[] {
  return [
    `consumer.protocol=${random.chance(0.3) ? 'classic' : 'consumer'}`,
    `commit.lanes=${random.pick([1, 2])}`,
    `workers.count=${random.pick([1, 1, 2])}`,
    // With so little room a tenant's records are parked in every outage.
    ...(random.chance(0.5) ? [`backpressure.mailboxRecords=${random.pick([50, 300])}`] : []),
  ]
}

/** One fault after the other, and what they did. */
class Storm {
  readonly #ground: Ground
  readonly #options: ChaosOptions
  readonly #watch: Watch
  readonly #inspector: Inspector
  readonly #findings: Findings
  readonly injected: Injected[] = []
  /** The load, which may be less than was asked for. */
  #perSecond: number
  /** It has not recovered from a fault: more of them would show nothing. */
  lost = false

  constructor(ground: Ground, options: ChaosOptions, watch: Watch, inspector: Inspector, findings: Findings) {
    this.#ground = ground
    this.#options = options
    this.#watch = watch
    this.#inspector = inspector
    this.#findings = findings
    this.#perSecond = options.perSecond
  }

  /** Resolves when every partition is worked on, and all that comes is done at once. */
  async calm(): Promise<void> {
    if (!(await this.#recovers()) && !this.#options.signal.aborted)
      throw tooLate(`The daemons did not begin: ${this.#watch.describe()}`)
  }

  /** Whether all goes on as before; with less to do where the machine is too busy to catch up. */
  async #recovers(): Promise<boolean> {
    const { signal, say } = this.#options
    for (let tries = 1; ; tries++) {
      const ended = await this.#watch.recovery(this.#perSecond * behindSeconds, recoveryDeadlineMs, signal)
      if (ended !== 'slow' || tries === 4) return ended === 'recovered'
      this.#perSecond = Math.ceil(this.#perSecond / 2)
      this.#ground.stage.perSecond = this.#perSecond
      say(`more than this machine can do (${this.#watch.describe()}): going on with ${this.#perSecond}/s`)
    }
  }

  async endure({ strokes, calmMs }: Round): Promise<void> {
    const { signal, say } = this.#options
    await this.#wait(calmMs)
    const struck = await Promise.all(strokes.map((stroke) => this.#strike(stroke, strokes.length === 1)))
    const ended = performance.now()
    const recovered = await this.#recovers()
    const recoveryMs = Math.round(performance.now() - ended)
    if (signal.aborted) return
    const what = struck.map(({ name, detail }) => `${name} (${detail})`).join(', ')
    say(`${what}: ${recovered ? `back after ${seconds(recoveryMs)}` : 'NOT BACK'}`)
    this.injected.push(...struck.map((one) => ({ ...one, recoveryMs })))
    if (!recovered) {
      this.lost = true
      this.#findings.add(`no recovery within ${recoveryDeadlineMs / 1_000} s from ${what}: ${this.#watch.describe()}`)
    }
    await this.#inspector.allReady(readyDeadlineMs, what, signal)
    this.#inspector.settle(what)
  }

  async #strike({ fault, afterMs, random }: Stroke, alone: boolean): Promise<{ name: string; detail: string }> {
    await this.#wait(afterMs)
    const from = performance.now()
    let detail: string
    try {
      detail = await fault.strike({ ...this.#ground, random })
    } catch (error) {
      // Another fault took away what this one needed; what it has done it must have undone.
      detail = `broken off: ${messageOf(error)}`
      if (alone && !this.#options.signal.aborted) this.#findings.add(`${fault.name} could not be done: ${detail}`)
    }
    if (fault.stopsAll === true && performance.now() - from > shownAfterMs)
      this.#inspector.nobodyWasReady(from, `${fault.name} (${detail})`)
    return { name: fault.name, detail }
  }

  async #wait(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#options.signal }).catch(() => {})
  }
}
