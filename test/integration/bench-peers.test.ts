// timeout: 600 s
import * as assert from 'uvu/assert'
import { z } from 'zod'
import { checkRows, checkSent } from '../../bench/check.ts'
import { Messages } from '../../bench/content.ts'
import { Database } from '../../bench/servers.ts'
import { roundRecords } from '../../bench/sizing.ts'
import { bench } from '../bench.ts'
import { test } from '../harness.ts'
import { kafkaAddress, postgresAddress } from '../services.ts'

const run = z.object({
  subject: z.string(),
  checked: z.enum(['rows', 'calls']),
  rate_per_second: z.number().positive(),
  rss_peak_bytes: z.number().positive(),
  lost: z.number(),
  duplicated: z.number(),
  reordered: z.number(),
  altered: z.number(),
  versions: z.record(z.string(), z.string()),
})

test(
  'every JavaScript peer and tenantry do the same work, and are checked by the same rows and calls',
  async () => {
    const peers = ['kafkajs', 'platformatic', 'confluent']
    const args = ['peers', '--peers', peers.join(','), '--works', 'transaction,http']
    const runs = z.array(run).parse(await bench(args))
    assert.equal(
      runs.map(({ subject, checked, lost, duplicated, reordered, altered }) => ({
        ...{ subject, checked },
        wrong: [lost, duplicated, reordered, altered],
      })),
      (['rows', 'calls'] as const).flatMap((checked) =>
        ['tenantry', ...peers].map((subject) => ({ subject, checked, wrong: [0, 0, 0, 0] })),
      ),
    )
    assert.is(runs[1]?.versions['kafkajs'], '2.2.4')
  },
  { timeoutMs: 240_000 },
)

test('the check counts what a peer has lost, written twice, out of order or changed', async () => {
  const servers = { kafka: kafkaAddress(), postgres: postgresAddress(), brokers: [], settings: {} }
  const database = await Database.create(servers)
  const content = { kind: 'order', tenants: 1, spread: 'even', ids: 'v7', copyEvery: 0, day: 20_000 } as const
  const messages = new Messages({ ...content, records: 10 })
  const write = (n: number, tenant = messages.tenant(n)) => database.sql`
    insert into effects (id, tenant_id, n, amount) values (${messages.id(n)}, ${tenant}, ${n}, 1)`
  try {
    for (const n of [0, 1, 2, 4, 3, 5, 6, 2]) await write(n) // the second 2 is a copy, and late as every copy is
    await write(8, 'tenant-of-another')
    await write(9)
    // 7 never came, and 8 says something else than its message.
    assert.equal(await checkRows(database.sql, messages, 10), { lost: 2, duplicated: 1, reordered: 1, altered: 1 })
  } finally {
    await database.drop()
  }
})

test('the check counts calls as it counts rows, in the order in which they came', () => {
  const content = { kind: 'order', tenants: 1, spread: 'even', ids: 'v7', copyEvery: 0, day: 20_000 } as const
  const messages = new Messages({ ...content, records: 6 })
  const values = [0, 2, 1, 3, 3, 4].map((n) => Buffer.from(messages.message(n).value))
  assert.equal(checkSent(values, messages, 6), { lost: 1, duplicated: 1, reordered: 1, altered: 0 })
})

test('a run has 1, 2 or 5 times a power of ten records', () => {
  assert.equal(
    [0, 1, 4_999, 5_000, 19_999, 20_000, 999_999].map(roundRecords),
    [1, 1, 2_000, 5_000, 10_000, 20_000, 500_000],
  )
})
