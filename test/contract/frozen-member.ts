import { createInterface } from 'node:readline'
import { systemClock } from '../../core/clock.ts'
import { createSource } from '../../core/kafka/drivers.ts'
import { silentLog } from '../../core/log.ts'
import { frozenOptions } from './frozen.ts'

// The process that frozen.ts freezes: writes its events as lines, commits when told to.

const options = frozenOptions.parse(JSON.parse(process.argv[2] ?? '{}'))
const source = await createSource({
  ...options,
  clientId: 'frozen',
  topics: [options.topic],
  releaseTimeoutMs: 2_000,
  maxFetchBytes: 1_048_576,
  clock: systemClock,
  log: silentLog,
})
const say = (line: string) => process.stdout.write(`${line}\n`)

await source.start({
  assigned: (partitions) => {
    say('assigned')
    for (const partition of partitions) source.seek(partition, 0, 1)
  },
  revoked: (partitions) => {
    say('revoked')
    source.release(partitions)
  },
  lost: () => say('lost'),
  records() {},
  outOfRange() {},
  topicChanged() {},
  troubled() {},
  recovered() {},
})

createInterface({ input: process.stdin }).on('line', () => {
  void source.commit([{ topic: options.topic, partition: 0, offset: 0 }]).then((reply) => say(`reply ${reply}`))
})
