import type { Runtime } from '../../tools/run/runtime.ts'
import type { Daemon } from './daemon.ts'
import type { Findings } from './findings.ts'
import type { Link, Site } from './site.ts'
import type { Stage } from './stage.ts'

/** How one daemon is run. */
export type Post = {
  readonly name: string
  readonly runtime: Runtime
  readonly driver: 'confluent' | 'platformatic'
  /** Its way through proxies; it goes straight to the servers where there is none. */
  readonly link: Link | undefined
  /** Configuration of its own, as `KEY=VALUE`. */
  readonly set: readonly string[]
}

/** A daemon in its place; a new one takes it when the old one has ended. */
export class Member {
  readonly post: Post
  daemon: Daemon | undefined
  /** When its process was started, by the monotonic clock. */
  startedAt = 0
  /** It was told to end, or is frozen: nothing is expected of it. */
  excused = false

  constructor(post: Post) {
    this.post = post
  }

  get running(): Daemon | undefined {
    return this.daemon?.running === true ? this.daemon : undefined
  }
}

/** The daemons of a run. One that ends by itself is a finding, and is started again as a service manager would. */
export class Crew {
  readonly members: readonly Member[]
  readonly #site: Site
  readonly #stage: Stage
  readonly #set: readonly string[]
  readonly #findings: Findings
  #ended = false

  constructor(site: Site, stage: Stage, posts: readonly Post[], set: readonly string[], findings: Findings) {
    this.#site = site
    this.#stage = stage
    this.#set = set
    this.#findings = findings
    this.members = posts.map((post) => new Member(post))
  }

  async start(member: Member): Promise<void> {
    if (member.running !== undefined || this.#ended) return
    const { runtime, driver, link, set } = member.post
    const through = link && { kafka: link.brokers, database: await this.#site.database(link, this.#stage.database) }
    if (this.#ended) return
    const daemon = this.#stage.start({ ...through, runtime, set: [`kafka.driver=${driver}`, ...this.#set, ...set] })
    member.daemon = daemon
    member.startedAt = performance.now()
    member.excused = false
    daemon.failed.catch(() => {
      this.#findings.add(`${member.post.name} ended by itself: ${daemon.logEnd(5)}`)
      if (member.daemon === daemon) setTimeout(() => void this.start(member), 1_000)
    })
  }

  async kill(member: Member): Promise<void> {
    member.excused = true
    await member.running?.kill()
  }

  /** Tells it to drain and go, and expects that it does: with 0, or with 6 when records in flight had to be left. */
  async dismiss(member: Member): Promise<void> {
    const daemon = member.running
    if (daemon === undefined) return
    member.excused = true
    const asked = performance.now()
    const how = await daemon.stop()
    const seconds = Math.round((performance.now() - asked) / 1_000)
    // The runtime was still loading it.
    const couldNotHear = how === 'SIGTERM' && daemon.logEnd(1) === ''
    if (how !== 0 && how !== 6 && !couldNotHear)
      this.#findings.add(`${member.post.name} ended with ${how} when it was told to: ${daemon.logEnd(5)}`)
    if (seconds > 25) this.#findings.add(`${member.post.name} took ${seconds} s to end, and its deadline is 10 s`)
  }

  freeze(member: Member): void {
    member.excused = true
    member.running?.signal('SIGSTOP')
  }

  thaw(member: Member): void {
    member.running?.signal('SIGCONT')
    member.excused = false
  }

  /** Nothing is started any more. */
  end(): void {
    this.#ended = true
    for (const member of this.members) member.excused = true
  }
}
