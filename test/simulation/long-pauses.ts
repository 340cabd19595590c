import type { World } from './world.ts'

/** After memory has run short, what waits is parked four times a second, in a commit each; a tick may be needed to begin. */
const patienceMs = 1_600

/** Memory that only waiting records take is given up: they are parked, and intake goes on before any of them is due. */
export class LongPauses {
  readonly #world: World
  #since = new Map<string, number>()

  constructor(world: World) {
    this.#world = world
  }

  /** To be called often. */
  look(): void {
    const { loop, schedule, chaos } = this.#world
    const { parkedMaxPerTenant, parkedMaxRecords, budgetBytes, budgetRecords } = schedule.options.settings
    const since = new Map<string, number>()
    for (const { process, draining, client, engine } of this.#world.running()) {
      if (process.state !== 'running' || draining || !client.reached || engine.reasons.length > 0) continue
      const { paused, inFlight, partitions, parkedRecords, parkedReads, mailboxes, waitingTenants } = engine.status()
      if (!paused.includes('budget') || inFlight > 0 || partitions.some(({ uncommitted }) => uncommitted > 0)) continue
      if (parkedReads > 0) continue
      if (waitingTenants.retrying + waitingTenants.held + waitingTenants.dependency < mailboxes) continue
      // Where there is no space for them, they stay.
      if (parkedRecords >= Math.min(parkedMaxPerTenant, parkedMaxRecords)) continue
      const from = this.#since.get(process.name) ?? loop.now
      since.set(process.name, from)
      chaos.mark('memory is full of what waits')
      if (loop.now - from > patienceMs)
        this.#world.violate(
          'G5 memory is full of what waits',
          `${process.name} has been paused since ${from} with nothing under way, of ${budgetBytes} bytes and ${budgetRecords} records`,
        )
    }
    this.#since = since
  }
}
