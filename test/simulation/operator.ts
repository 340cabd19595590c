import { everWritten, type PartitionRef, type Range } from '../../core/postgres/transactions.ts'
import { Progress } from '../../supervisors/progress.ts'
import { Process } from './event-loop.ts'
import { type PostgresServer, ServerError, type Transaction } from './postgres-server.ts'
import { type Change, refKey } from './postgres-tables.ts'

/** Of all dead letters at once: who runs them again and who brings them back wait for each other. */
export const lettersLock = 'dead letters'

/** What an operator says to `tenantry offsets`; which way a reset goes follows from where the partition is. */
export type Said =
  | { readonly what: 'reset'; readonly position: number; readonly dropParked: boolean }
  | { readonly what: 'ignore' }

/**
 * What sys.fn_reset_offsets and sys.fn_ignore_offset do in the partition's lock: move it on as an owner would, with what
 * is to run again, or is passed over. True, as an answer: it is done, or there was nothing to do.
 */
export function decide(
  { tables, changes }: Transaction,
  since: number,
  ref: PartitionRef,
  said: Said,
): true | ServerError {
  const last = tables.last(ref)
  if (last === undefined) return new ServerError('TY007', 'the partition has no progress')
  const raised = { ...last, epoch: last.epoch + 1, seq: last.seq + 1, commitId: `operator ${since}`, kafkaOffset: -1 }
  if (said.what === 'ignore') {
    changes.push({ kind: 'reset', ref, row: raised, position: last.watermark, rerun: null, dropParked: false })
    return true
  }
  const { position, dropParked } = said
  const done = new Progress(last.watermark, last.ahead)
  if (position <= last.watermark) {
    if (position === done.end) return true
    const rerun = { to: done.end, since: String(since) }
    changes.push({
      kind: 'reset',
      ref,
      row: { ...raised, watermark: position, ahead: [] },
      position,
      rerun,
      dropParked: false,
    })
    return true
  }
  done.add(0, position)
  const row = { ...raised, watermark: done.watermark, ahead: done.ahead }
  changes.push({ kind: 'reset', ref, row, position, rerun: null, dropParked })
  return true
}

/** An operator's session. Nobody waits for its end. */
export function operate(server: PostgresServer, ref: PartitionRef, said: Said): void {
  if (server.away) return
  const backend = server.open(new Process('operator'))
  const locks = () => [`partition ${refKey(ref)}`, lettersLock]
  const run = (tx: Transaction) => {
    const done = decide(tx, server.tick(), ref, said)
    return done instanceof ServerError ? done : null
  }
  const [answer, point] = [() => {}, null]
  backend.send([
    { point, locks, run, answer },
    { point, locks: () => [], run: () => null, ends: 'commit', answer: () => backend.end(false) },
  ])
}

/** Where it stands whether a key makes a message a copy that runs again since then; null: any does. */
export function isKnown(writtenAt: number | undefined, knownSince: string | null): boolean {
  if (writtenAt === undefined || knownSince === everWritten) return false
  return knownSince === null || writtenAt >= Number(knownSince)
}

/** The positions that a reset passed over. */
export function passedOver(
  before: { watermark: number; ahead: readonly Range[] },
  { position, rerun }: Change & { kind: 'reset' },
): number[] {
  const done = new Progress(before.watermark, before.ahead)
  const passed: number[] = []
  for (let at = before.watermark; rerun === null && at < position; at++) if (!done.has(at)) passed.push(at)
  return passed
}
