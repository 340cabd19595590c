import type { Fault } from './fault.ts'
import { daemonFaults } from './faults/daemons.ts'
import { kafkaFaults } from './faults/kafka.ts'
import { networkFaults } from './faults/network.ts'
import { postgresFaults } from './faults/postgres.ts'
import { offsetFaults } from './faults/offsets.ts'
import { publishingFaults } from './faults/publishing.ts'
import { redisFaults } from './faults/redis.ts'
import { topicFaults } from './faults/topic.ts'

/** Every kind of fault that a run may meet. */
export const allFaults: readonly Fault[] = [
  ...daemonFaults,
  ...postgresFaults,
  ...kafkaFaults,
  ...publishingFaults,
  ...networkFaults,
  ...redisFaults,
  ...topicFaults,
  ...offsetFaults,
]
