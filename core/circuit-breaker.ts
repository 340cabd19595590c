/**
 * A circuit breaker as a pure state machine: no clock, no timers, and nothing at all for one that is closed and has seen
 * no failure, as there may be one for each tenant and dependency.
 */
export type CircuitSettings = {
  /** So many failures in a row open it. */
  readonly failures: number
  /** How long it stays open before a probe may go. */
  readonly openMs: number
  /** So many probes in a row must succeed before it closes. */
  readonly successes: number
  /** A probe that has not answered for so long has failed. */
  readonly probeTimeoutMs: number
}

/**
 * - `closed`: calls go, and `failures` of them in a row have failed
 * - `open`: none goes until `probeAt`; from then on the first that comes is a probe
 * - `half-open`: one probe at a time; `successes` of them in a row have succeeded
 *
 * Null: closed, and the last call succeeded. Times are the caller's, in milliseconds.
 */
export type Circuit =
  | { readonly phase: 'closed'; readonly failures: number }
  | { readonly phase: 'open'; readonly failures: number; readonly probeAt: number }
  | {
      readonly phase: 'half-open'
      readonly failures: number
      readonly successes: number
      /** Number of the probe under way; 0: none is. */
      readonly probe: number
      /** When that probe has failed if it has not answered. */
      readonly deadline: number
    }

/**
 * `probe` is a number above 0 that the caller gives each probe of a circuit once; 0 stands for a call that was let go
 * while the circuit was closed. Answers to any other than the one that the circuit waits for say nothing: they are late.
 */
export type CircuitEvent =
  | { readonly kind: 'succeeded' | 'failed'; readonly probe: number }
  /** A probe goes. Only when `mayProbe` says so. */
  | { readonly kind: 'probe'; readonly probe: number }
  /** A probe has ended and says nothing of the dependency: it was taken back, or never called it. Another may go. */
  | { readonly kind: 'abandoned'; readonly probe: number }
  /** Whatever it has seen by itself, it opens: others have failed alike. */
  | { readonly kind: 'opened' }

/** What the circuit is after `event`, and after the deadline of a probe before it. Throws for a probe that may not go. */
export function transition(
  circuit: Circuit | null,
  event: CircuitEvent,
  now: number,
  settings: CircuitSettings,
): Circuit | null {
  const current = circuit === null ? null : overdue(circuit, now, settings)
  switch (event.kind) {
    case 'opened':
      return { phase: 'open', failures: current?.failures ?? 0, probeAt: now + settings.openMs }
    case 'probe':
      return probing(current, event.probe, now, settings)
    case 'abandoned':
      return isAnswer(current, event.probe) && current?.phase === 'half-open'
        ? { ...current, probe: 0, deadline: 0 }
        : current
    case 'succeeded':
      return isAnswer(current, event.probe) ? succeeded(current, settings) : current
    case 'failed':
      return isAnswer(current, event.probe) ? failed(current, now, settings) : current
  }
}

/** Whether calls go as if there were no circuit breaker. */
export function isClosed(circuit: Circuit | null): boolean {
  return circuit === null || circuit.phase === 'closed'
}

/** Whether the next call may go now, as a probe. */
export function mayProbe(circuit: Circuit, now: number): boolean {
  if (circuit.phase === 'open') return now >= circuit.probeAt
  return circuit.phase === 'half-open' && circuit.probe === 0
}

function overdue(circuit: Circuit, now: number, settings: CircuitSettings): Circuit {
  if (circuit.phase !== 'half-open' || circuit.probe === 0 || now < circuit.deadline) return circuit
  return failed(circuit, circuit.deadline, settings)
}

function isAnswer(circuit: Circuit | null, probe: number): boolean {
  if (circuit === null || circuit.phase === 'closed') return probe === 0
  return circuit.phase === 'half-open' && probe !== 0 && circuit.probe === probe
}

function probing(circuit: Circuit | null, probe: number, now: number, settings: CircuitSettings): Circuit {
  if (circuit === null || circuit.phase === 'closed' || !mayProbe(circuit, now))
    throw new RangeError(`a probe may not go: the circuit is ${circuit?.phase ?? 'closed'}`)
  const successes = circuit.phase === 'half-open' ? circuit.successes : 0
  return { phase: 'half-open', failures: circuit.failures, successes, probe, deadline: now + settings.probeTimeoutMs }
}

function succeeded(circuit: Circuit | null, settings: CircuitSettings): Circuit | null {
  if (circuit === null || circuit.phase !== 'half-open') return null
  const successes = circuit.successes + 1
  return successes >= settings.successes ? null : { ...circuit, successes, probe: 0, deadline: 0 }
}

function failed(circuit: Circuit | null, now: number, settings: CircuitSettings): Circuit {
  const failures = (circuit?.failures ?? 0) + 1
  if (isClosed(circuit) && failures < settings.failures) return { phase: 'closed', failures }
  return { phase: 'open', failures, probeAt: now + settings.openMs }
}
