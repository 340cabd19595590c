import { setTimeout as pause } from 'node:timers/promises'
import { Daemon, type DaemonOptions } from './daemon.ts'
import type { Reached, Subject } from './subject.ts'

/** Daemons of one group, all alike. The first is there from the beginning; others may join, and each may end. */
export class DaemonCrew implements Subject {
  readonly first: Daemon
  readonly startedAt: number
  readonly ended: Promise<never>
  readonly #options: DaemonOptions
  readonly #all: Daemon[] = []
  #fail: (error: unknown) => void = () => {}

  constructor(options: DaemonOptions) {
    this.#options = options
    this.ended = new Promise<never>((_, reject) => {
      this.#fail = reject
    })
    this.ended.catch(() => {}) // whoever waits for something else races against it
    this.first = this.start()
    this.startedAt = this.first.startedAt
  }

  get running(): readonly Daemon[] {
    return this.#all.filter(({ running }) => running)
  }

  get pids(): readonly number[] {
    const ended = this.#all.filter(({ running }) => !running)
    return [...ended, ...this.running].map(({ pid }) => pid)
  }

  get folders(): readonly string[] {
    return this.#all.map(({ folder }) => folder)
  }

  /** Starts another one. */
  start(): Daemon {
    const daemon = new Daemon(this.#options)
    this.#all.push(daemon)
    daemon.ended.catch(this.#fail)
    return daemon
  }

  readyAt(): number | undefined {
    return this.first.readyAt()
  }

  /** Resolves when it owns a partition. */
  async ready(daemon: Daemon): Promise<void> {
    while (daemon.readyAt() === undefined) await this.while(pause(20))
  }

  /** How many records of the topic are done, whoever did them. */
  done(): Promise<Reached> {
    return this.first.done()
  }

  /** As `work`, but rejects when a daemon ends by itself meanwhile. */
  while<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.ended])
  }

  /** Drains all that run. */
  async stop(): Promise<void> {
    await Promise.all(this.running.map((daemon) => daemon.stop()))
  }

  /** Ends all that run at once. */
  async kill(): Promise<void> {
    await Promise.all(this.running.map((daemon) => daemon.kill()))
  }

  logEnd(): string {
    return (this.running.at(-1) ?? this.#all.at(-1) ?? this.first).logEnd()
  }
}
