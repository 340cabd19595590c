// timeout: 1800 s
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { test } from '../harness.ts'
import { Marks } from './chaos.ts'
import { mutants } from './mutants.ts'
import { scheduleOf } from './schedule.ts'
import { simulate } from './simulate.ts'

const seeds = 2_000
/** A mutant must be found sooner. */
const mutantSeeds = 1_000

/** Rare paths that the seeds below must have taken. */
const paths = [
  'kill',
  'freeze',
  'term',
  'join',
  'lose worker',
  'freeze backend',
  'orphaned commit',
  'commit lost',
  'commit answer lost',
  'serialization failure',
  'late decision',
  'cut between statements',
  'resolved as committed',
  'resolved as not-committed',
  'a frozen holder was ended',
  'at settle',
  'at revoke told',
  'lost told late',
  'late batch',
  'postgres restart',
  'failover',
  'kafka away',
  'output away',
  'recreate topic',
  'a claim of an earlier topic was refused',
  'add partitions',
  'trim log',
  'reset offsets',
  'a copy that a worker knew',
  'killed alone',
  'an innocent suspect',
  'the extra thread was ended',
  'brought back',
  'brought back and done',
  'parked',
  'a quiet partition is held',
  'memory is full of what waits',
  'a parked record decided',
  "an earlier topic's parked record",
  'dependency away',
  'breaker opened',
  'breaker closed',
  'probe',
  'shared breaker opened',
  'shared breaker closed',
  'shared probe',
  'operator resets',
  'a record ran again',
  'a parked record ran again',
  "Kafka's offset accepted",
  'an operator decides',
]

test(
  `${seeds} schedules lose, double and reorder nothing, and reach the rare paths`,
  async () => {
    const marks = new Marks()
    for (let seed = 1; seed <= seeds; seed++) {
      const { violation } = await simulate(scheduleOf(String(seed)), { marks })
      assert.is(
        violation,
        null,
        `seed ${seed}: ${violation?.rule}: ${violation?.detail}; npm run simulate -- --seed ${seed} --trace`,
      )
    }
    assert.equal(
      paths.filter((mark) => !marks.counts.has(mark)),
      [],
    )
  },
  { timeoutMs: 600_000 },
)

test('a schedule runs alike each time', async () => {
  for (const seed of ['7', '40', 'a word']) {
    const first = await simulate(scheduleOf(seed))
    const second = await simulate(scheduleOf(seed))
    assert.is(first.hash, second.hash)
    assert.is(first.events, second.events)
  }
})

test("what is simulated is the daemon's own engine", () => {
  const read = (path: string) => readFileSync(join(import.meta.dirname, '../..', path), 'utf8')
  const simulated = read('test/simulation/simulated-daemon.ts')
  assert.match(simulated, /import \{[^}]*\bEngine\b[^}]*\} from '\.\.\/\.\.\/supervisors\/engine\.ts'/)
  assert.match(read('supervisors/daemon.ts'), /import \{[^}]*\bEngine\b[^}]*\} from '\.\/engine\.ts'/)
  assert.match(simulated, /new Engine\(/)
})

for (const { name } of mutants) {
  test(
    `found within ${mutantSeeds} schedules: ${name}`,
    () => {
      const runner = join(import.meta.dirname, 'run-mutant.ts')
      const found = execFileSync(process.execPath, [runner, name, String(mutantSeeds)], {
        encoding: 'utf8',
        timeout: 280_000,
      })
      assert.is.not(found.trim(), 'null')
    },
    { timeoutMs: 300_000 },
  )
}
