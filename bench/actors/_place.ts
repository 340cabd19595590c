import type { Idempotency } from '../../actors/define-actor.ts'

/** Where the bench runs an actor: each run has its own group and topics, given by its environment. */
export function place(): { readonly group: string; readonly topic: string; readonly idempotency: Idempotency } {
  const { BENCH_GROUP: group = 'bench', BENCH_TOPIC: topic = 'bench', BENCH_MODE: mode } = process.env
  return { group, topic, idempotency: mode === 'offset' ? 'offset' : 'message-id' }
}

/** The topic for what actors publish. */
export function eventsTopic(): string {
  return process.env['BENCH_EVENTS'] ?? 'bench.events'
}
