import { spawnSync } from 'node:child_process'
import * as assert from 'uvu/assert'
import { isLeftBehind, ownMark } from '../../bench/left-behind.ts'
import { test } from '../harness.ts'

test('what a process that has ended made is left behind; what one that runs made, or nobody knows, is not', () => {
  const { pid } = spawnSync(process.execPath, ['--version'])
  for (const name of [`bench_p${pid}_0a1b`, `bench.lag-20783-p${pid}-mh1x`]) assert.ok(isLeftBehind(name), name)
  for (const name of [`bench_${ownMark()}_0a1b`, `bench.lag-20783-${ownMark()}-mh1x`, 'bench.order-1000-5-v7-20783-12'])
    assert.not.ok(isLeftBehind(name), name)
})
