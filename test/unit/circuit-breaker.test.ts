import * as assert from 'uvu/assert'
import { CircuitState, circuitBreaker, ConsecutiveBreaker, handleAll, isBrokenCircuitError } from 'cockatiel'
import fc from 'fast-check'
import {
  type Circuit,
  type CircuitEvent,
  type CircuitSettings,
  isClosed,
  mayProbe,
  transition,
} from '../../core/circuit-breaker.ts'
import { test } from '../harness.ts'

const settings: CircuitSettings = { failures: 5, openMs: 60_000, successes: 2, probeTimeoutMs: 10_000 }

/** The circuit after these events, each a second after the one before unless it says when. */
function after(...events: readonly (CircuitEvent & { readonly at?: number })[]): Circuit | null {
  let now = 0
  let circuit: Circuit | null = null
  for (const { at, ...event } of events) {
    now = at ?? now + 1_000
    circuit = transition(circuit, event, now, settings)
  }
  return circuit
}

const failure = { kind: 'failed', probe: 0 } as const
const fiveFailures = Array.from({ length: 5 }, () => failure)

test('a circuit opens at the fifth failure in a row, and a success in between begins the row anew', () => {
  assert.equal(after(failure, failure, failure, failure), { phase: 'closed', failures: 4 })
  assert.equal(after(failure, failure, failure, failure, { kind: 'succeeded', probe: 0 }), null)
  assert.equal(after(...fiveFailures), { phase: 'open', failures: 5, probeAt: 65_000 })
})

test('it opens when it is told that others have failed', () => {
  assert.equal(after({ kind: 'opened', at: 1_000 }), { phase: 'open', failures: 0, probeAt: 61_000 })
  assert.equal(after(failure, failure, { kind: 'opened' }), { phase: 'open', failures: 2, probeAt: 63_000 })
})

test('a closed circuit without failures is nothing at all', () => {
  assert.is(transition(null, { kind: 'succeeded', probe: 0 }, 0, settings), null)
  assert.is(transition(null, { kind: 'abandoned', probe: 7 }, 0, settings), null)
  assert.ok(isClosed(null))
})

test('an open circuit lets no probe go before its time', () => {
  const open = after(...fiveFailures)
  assert.ok(open !== null && !isClosed(open))
  assert.not.ok(mayProbe(open, 64_999))
  assert.throws(() => transition(open, { kind: 'probe', probe: 1 }, 64_999, settings), /a probe may not go/)
  assert.ok(mayProbe(open, 65_000))
})

test('a half-open circuit lets exactly one probe go at a time', () => {
  const probing = after(...fiveFailures, { kind: 'probe', probe: 1, at: 65_000 })
  assert.equal(probing, { phase: 'half-open', failures: 5, successes: 0, probe: 1, deadline: 75_000 })
  assert.ok(probing !== null && !mayProbe(probing, 66_000))
  assert.throws(() => transition(probing, { kind: 'probe', probe: 2 }, 66_000, settings), /a probe may not go/)
})

test('no probe goes while a circuit is closed', () => {
  assert.throws(() => transition(null, { kind: 'probe', probe: 1 }, 0, settings), /the circuit is closed/)
  assert.throws(() => transition(after(failure), { kind: 'probe', probe: 1 }, 0, settings), /the circuit is closed/)
})

test('it closes after two probes in a row that succeed', () => {
  const once = after(...fiveFailures, { kind: 'probe', probe: 1, at: 65_000 }, { kind: 'succeeded', probe: 1 })
  assert.equal(once, { phase: 'half-open', failures: 5, successes: 1, probe: 0, deadline: 0 })
  assert.ok(once !== null && mayProbe(once, 66_000))
  const second = transition(once, { kind: 'probe', probe: 2 }, 66_000, settings)
  assert.is(transition(second, { kind: 'succeeded', probe: 2 }, 67_000, settings), null)
  assert.equal(transition(second, { kind: 'failed', probe: 2 }, 67_000, settings), {
    phase: 'open',
    failures: 6,
    probeAt: 127_000,
  })
})

test('a probe past its deadline has failed, whenever that is noticed', () => {
  const probing = after(...fiveFailures, { kind: 'probe', probe: 1, at: 65_000 })
  const reopened = { phase: 'open', failures: 6, probeAt: 135_000 }
  const other = { kind: 'abandoned', probe: 9 } as const
  assert.equal(transition(probing, other, 74_999, settings), probing)
  assert.equal(transition(probing, other, 75_000, settings), reopened)
  assert.equal(transition(probing, other, 100_000, settings), reopened)
  assert.equal(transition(probing, { kind: 'succeeded', probe: 1 }, 75_000, settings), reopened, 'too late to count')
})

test('a probe that was taken back leaves its place to another, and loses no success before it', () => {
  const second = after(
    ...fiveFailures,
    { kind: 'probe', probe: 1, at: 65_000 },
    { kind: 'succeeded', probe: 1 },
    { kind: 'probe', probe: 2 },
    { kind: 'abandoned', probe: 2 },
  )
  assert.equal(second, { phase: 'half-open', failures: 5, successes: 1, probe: 0, deadline: 0 })
})

test('answers to calls and probes that the circuit does not wait for say nothing', () => {
  const open = after(...fiveFailures)
  const probing = after(...fiveFailures, { kind: 'probe', probe: 2, at: 65_000 })
  const between = after(...fiveFailures, { kind: 'probe', probe: 1, at: 65_000 }, { kind: 'succeeded', probe: 1 })
  for (const [circuit, probes] of [
    [open, [0, 1]],
    [probing, [0, 1]],
    [between, [0, 1]],
    [after(failure), [1]],
    [null, [1]],
  ] as const)
    for (const probe of probes)
      for (const kind of ['succeeded', 'failed', 'abandoned'] as const)
        assert.equal(transition(circuit, { kind, probe }, 66_000, settings), circuit)
})

// The oracle. Called one at a time, cockatiel's breaker with `halfOpenSampling: { calls: successes, threshold: 0 }` says
// the same as ours at every step. They differ where calls overlap: its half-open state lets as many go at once as must
// succeed, and lets others wait for the result, where ours lets one go; it has no deadline for a probe; and a call that
// was let go while it was closed can open it again from half-open, where for ours such an answer is late.

type Step = { readonly kind: 'call'; readonly succeeds: boolean } | { readonly kind: 'wait'; readonly ms: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('call' as const), succeeds: fc.boolean() }) },
  { weight: 3, arbitrary: fc.constant({ kind: 'call' as const, succeeds: false }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 1_500 }) }) },
)

test('called one at a time it is what cockatiel is', async () => {
  const real = Date.now
  let now = 0
  Date.now = () => now
  const seen = new Set<string>()
  try {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(step, { maxLength: 60 }),
        async (failures, successes, steps) => {
          now = 0
          const own = { failures, successes, openMs: 1_000, probeTimeoutMs: 1_000_000 }
          const oracle = circuitBreaker(handleAll, {
            halfOpenAfter: own.openMs,
            breaker: new ConsecutiveBreaker(failures),
            halfOpenSampling: { calls: successes, threshold: 0 },
          })
          let circuit: Circuit | null = null
          let probes = 0
          for (const one of steps) {
            if (one.kind === 'wait') {
              now += one.ms
              continue
            }
            const goes = isClosed(circuit) || (circuit !== null && mayProbe(circuit, now))
            assert.is(await call(oracle, one.succeeds), goes, `whether the call goes at ${now}`)
            if (goes) {
              const probe = isClosed(circuit) ? 0 : ++probes
              if (probe > 0) circuit = transition(circuit, { kind: 'probe', probe }, now, own)
              circuit = transition(circuit, { kind: one.succeeds ? 'succeeded' : 'failed', probe }, now, own)
            }
            assert.is(circuit?.phase ?? 'closed', phases[oracle.state], `the state at ${now}`)
            seen.add(circuit?.phase ?? 'closed')
          }
        },
      ),
      { numRuns: 500 },
    )
  } finally {
    Date.now = real
  }
  assert.equal([...seen].sort(), ['closed', 'half-open', 'open'])
})

const phases = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half-open',
  [CircuitState.Isolated]: 'isolated',
} as const

/** Whether the oracle let the call go. */
async function call(oracle: ReturnType<typeof circuitBreaker>, succeeds: boolean): Promise<boolean> {
  let went = false
  try {
    await oracle.execute(() => {
      went = true
      if (!succeeds) throw new Error('the dependency is away')
    })
  } catch (error) {
    if (!went && !isBrokenCircuitError(error)) throw error
  }
  return went
}
