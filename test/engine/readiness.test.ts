import * as assert from 'uvu/assert'
import type { Commit, CommitResult } from '../../core/postgres/transactions.ts'
import { test } from '../harness.ts'
import { EngineStage, refusal } from './engine-stage.ts'

// What readiness says is so: not ready while something is away, and ready again although nothing is left to do.

const away = (): CommitResult => ({
  kind: 'refused',
  step: 'own',
  blame: 'infrastructure',
  failure: refusal('08006', 'away'),
})

const fine = (commit: Commit): CommitResult => ({ kind: 'committed', commit })

test('a daemon whose partitions went elsewhere while PostgreSQL was away is ready', async () => {
  const stage = new EngineStage()
  await stage.assign()
  stage.answer = away
  await stage.send(['a'])
  assert.equal(stage.reasons, ['postgres.lane0: away (SQLSTATE 08006)'])
  await stage.lose()
  await stage.clock.pass(5_000)
  assert.equal(stage.reasons, [])
})

test('a daemon that has partitions left and nothing to commit finds out when PostgreSQL is back', async () => {
  const stage = new EngineStage({ partitions: 2 })
  await stage.assign()
  stage.answer = away
  await stage.send(['a'], 0)
  await stage.lose(0)
  await stage.clock.pass(5_000)
  assert.equal(stage.reasons, ['postgres.lane0: away (SQLSTATE 08006)'], 'it is still away')
  stage.answer = fine
  await stage.clock.pass(5_000)
  assert.equal(stage.reasons, [])
})

test('a daemon that waits for nobody’s state any more is ready', async () => {
  const stage = new EngineStage({ stateful: true })
  await stage.assign()
  stage.state = () => {
    throw new Error('away')
  }
  await stage.send(['a'])
  assert.equal(stage.reasons, ['postgres.states: away'])
  await stage.lose()
  await stage.clock.pass(5_000)
  assert.equal(stage.reasons, [])
})
