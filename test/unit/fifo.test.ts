import * as assert from 'uvu/assert'
import fc from 'fast-check'
import { test } from '../harness.ts'
import { Fifo } from '../../core/fifo.ts'

test('it behaves as an array for any program of pushes, shifts and truncations', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('push' as const), count: fc.integer({ min: 1, max: 3_000 }) }),
    fc.record({ kind: fc.constant('shift' as const), count: fc.integer({ min: 1, max: 3_000 }) }),
    fc.record({ kind: fc.constant('truncate' as const), count: fc.nat(2_000) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const fifo = new Fifo<number>()
      let model: number[] = []
      let next = 0
      for (const { kind, count } of steps) {
        if (kind === 'push') {
          for (let i = 0; i < count; i++) {
            fifo.push(next)
            model.push(next++)
          }
        } else if (kind === 'shift') {
          for (let i = 0; i < count; i++) assert.is(fifo.shift(), model.shift())
        } else {
          assert.equal(fifo.truncate(count), model.slice(count))
          model = model.slice(0, count)
        }
        assert.is(fifo.length, model.length)
        assert.is(fifo.at(0), model[0])
        assert.is(fifo.at(model.length - 1), model.length === 0 ? undefined : model.at(-1))
        assert.is(fifo.at(model.length), undefined)
      }
    }),
    { numRuns: 50 },
  )
})
