import { randomUUID } from 'node:crypto'

/** Chance as the engine sees it; the simulation's is seeded. */
export interface Random {
  /** In [0, 1). */
  next(): number
  uuid(): string
}

/** This file, like clock.ts, is the only one that may touch the runtime's own. */
export const systemRandom: Random = {
  next: () => Math.random(),
  uuid: () => randomUUID(),
}
