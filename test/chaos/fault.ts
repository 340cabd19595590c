import { setTimeout as pause } from 'node:timers/promises'
import type postgres from 'postgres'
import type { SeededRandom } from '../simulation/seeded-random.ts'
import type { Crew, Member } from './crew.ts'
import type { Site } from './site.ts'
import type { Stage } from './stage.ts'

/** What a fault concerns. Two of one kind never overlap, so that each can be sure of its victim. */
type Area = 'daemons' | 'kafka' | 'postgres' | 'network' | 'redis' | 'operators'

/** The brokers by their ids. */
export const nodes = [1, 2, 3] as const

/** What a fault may lay hands on. */
export type Ground = {
  readonly site: Site
  readonly stage: Stage
  readonly crew: Crew
  /** Straight to the server, as a superuser. */
  readonly sql: postgres.Sql
  readonly random: SeededRandom
  /** The run is over. */
  readonly signal: AbortSignal
}

export type Fault = {
  readonly name: string
  readonly area: Area
  /** For the list of them. */
  readonly about: string
  /** While it lasts nobody can commit anything: a daemon that says it is ready lies. */
  readonly stopsAll?: boolean
  /** Nothing else happens meanwhile: it is somebody's doing, who looks at what comes of it. */
  readonly alone?: boolean
  /** How often it is drawn, against 1 for the others. */
  readonly weight?: number
  /** Does it, waits, undoes it; resolves with what exactly it did, once the world is as it was. */
  strike(ground: Ground): Promise<string>
}

/** Waits, unless the run is over; whoever waits between doing and undoing undoes it then. */
export async function last(ground: Ground, ms: number): Promise<void> {
  await pause(ms, undefined, { signal: ground.signal }).catch(() => {})
}

/** Draws a time in ms, and waits so long. */
export async function lastBetween(ground: Ground, from: number, to: number): Promise<number> {
  const ms = ground.random.between(from, to)
  await last(ground, ms)
  return ms
}

/** A daemon that runs, by chance. */
export function someone(ground: Ground): Member | undefined {
  return ground.random.any(ground.crew.members.filter(({ running }) => running !== undefined))
}

export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
