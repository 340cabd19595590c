import { groupContract } from './group-contract.ts'
import type { MakeSource } from './member.ts'
import { readingContract } from './reading-contract.ts'
import { Stage } from './stage.ts'

/**
 * What the engine relies on in every source, against a real broker. `driver` is also the name by which the member that is
 * to be frozen makes its source, in a process of its own.
 */
export function sourceContract(driver: 'confluent' | 'platformatic', make: MakeSource): void {
  const stage = new Stage(driver, make)
  readingContract(stage)
  groupContract(driver, make, stage)
}
