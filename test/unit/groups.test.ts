import * as assert from 'uvu/assert'
import type { ActorFacts } from '../../actors/topology.ts'
import { loadConfig } from '../../core/config/load.ts'
import { groupsOf } from '../../supervisors/groups.ts'
import { test } from '../harness.ts'

function found(index: number, group: string, topic: string): ActorFacts {
  return {
    index,
    name: topic,
    group,
    topic,
    stateful: false,
    stateVersion: 0,
    consistency: 'pipelined',
    idempotency: 'message-id',
    dependencies: [],
    retry: {},
    tables: undefined,
    messages: ['x'],
    file: `actors/${topic}.ts`,
    times: { handlerMs: undefined, longestCall: undefined },
  }
}

function configured(...keys: readonly string[]) {
  const flags = keys.map((key) => ({ key: key.split('=')[0] ?? '', value: key.split('=')[1] ?? '', flag: '--set' }))
  return loadConfig({ env: {}, cwd: '/nowhere', needs: [], flags }).config
}

const topology = { actors: [found(0, 'a', 't1'), found(1, 'b', 't1'), found(2, 'a', 't2')] }

test('a group has the actors that name it', () => {
  const groups = groupsOf(configured('groups.a.start=latest', 'groups.b.start=earliest'), topology)
  assert.equal(
    [...groups].map(([name, { roles }]) => [name, roles.map(({ index }) => index)]),
    [
      ['a', [0, 2]],
      ['b', [1]],
    ],
  )
  assert.is(groups.get('a')?.config.start, 'latest')
})

test('an actor of a group that is not configured is an error that names both', () => {
  assert.throws(
    () => groupsOf(configured('groups.a.start=latest'), topology),
    /actors\/t1\.ts belongs to group b.*add groups\.b/,
  )
})

test('topics narrows a group, and must not name one that no actor takes', () => {
  const groups = groupsOf(configured('groups.a.topics=t2', 'groups.b.start=latest'), topology)
  assert.equal(
    groups.get('a')?.roles.map(({ topic }) => topic),
    ['t2'],
  )
  assert.throws(
    () => groupsOf(configured('groups.a.topics=t2,t3', 'groups.b.start=latest'), topology),
    /groups\.a\.topics lists t3.*did you mean/,
  )
})

test('a call must end before its handler, and that before a breaker waits no longer', () => {
  const calling = (handlerMs?: number) => {
    const times = { handlerMs, longestCall: { dependency: 'api', timeoutMs: 40_000 } }
    return { actors: [{ ...found(0, 'a', 't1'), dependencies: ['mail', 'api'], times }] }
  }
  const start = 'groups.a.start=latest'
  assert.throws(() => groupsOf(configured(start), calling()), /api may take 40000 ms, its handler 30000 ms/)
  assert.throws(
    () => groupsOf(configured(start), calling(70_000)),
    /its handler 70000 ms, and a breaker waits 60000 ms/,
  )
  groupsOf(configured(start), calling(50_000))
  groupsOf(configured(start, 'breaker.probeTimeout=2m'), calling(70_000))
})
