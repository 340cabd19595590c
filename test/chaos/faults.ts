import type { Fault } from './fault.ts'
import { daemonFaults } from './faults/daemons.ts'
import { kafkaFaults } from './faults/kafka.ts'
import { networkFaults } from './faults/network.ts'
import { postgresFaults } from './faults/postgres.ts'
import { operatorFaults } from './faults/operators.ts'
import { publishingFaults } from './faults/publishing.ts'
import { redisFaults } from './faults/redis.ts'

/** Every kind of fault that a run may meet. */
export const allFaults: readonly Fault[] = [
  ...daemonFaults,
  ...postgresFaults,
  ...kafkaFaults,
  ...publishingFaults,
  ...networkFaults,
  ...redisFaults,
  ...operatorFaults,
]
