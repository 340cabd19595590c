import { deadLetterHeaders } from '../../core/dead-letter.ts'
import type { Effect } from '../../core/effects.ts'
import type { OutboxRow } from '../../core/postgres/ownership.ts'
import { type Commit, copySince, type Outcome, type PartitionRef } from '../../core/postgres/transactions.ts'
import { deadLetterTopic } from './handler.ts'
import { isKnown } from './operator.ts'
import { ServerError, type Statement, type Transaction } from './postgres-server.ts'
import { type Change, isSame, type OutcomeRow, refKey } from './postgres-tables.ts'

/** A statement of a commit without its answer: what lane.ts sends, as far as its meaning goes. */
export type Step = Omit<Statement, 'answer'> & { readonly of: 'own' | 'effect' }

const none = () => []

/** Locks the partitions in one order, then compares their last rows with what the commit names. */
export function fence(commit: Commit): Step {
  return {
    of: 'own',
    point: 'locked',
    locks: () => [...new Set(commit.partitions.map(({ ref }) => `partition ${refKey(ref)}`))].sort(),
    run: ({ tables }) => {
      const refused = commit.partitions.flatMap(({ ref, follows }, place) => {
        const last = tables.last(ref)
        return last?.commitId === follows ? [] : [place]
      })
      return refused.length > 0
        ? new ServerError('TY001', 'another commit has moved these partitions on', refused.join(','))
        : null
    },
  }
}

export function recordProgress(commit: Commit): Step {
  return {
    of: 'own',
    point: 'progress',
    locks: none,
    run: ({ changes }) => {
      for (const { ref, epoch, seq, watermark, ahead, kafkaOffset } of commit.partitions) {
        changes.push({
          kind: 'progress',
          reason: 'commit',
          ref,
          row: { epoch, seq: seq + 1, commitId: commit.id, watermark, ahead, kafkaOffset },
        })
      }
      return null
    },
  }
}

/** Parked records get their rows; those that are decided lose them, and all must be there. */
export function parking(commit: Commit): Step {
  return {
    of: 'own',
    point: null,
    locks: none,
    run: ({ tables, changes }) => {
      const refused = new Set<number>()
      const parkedNow = new Set<string>()
      for (const outcome of commit.outcomes) {
        const { tenant, record, result, attempts, firstFailedAt, row, knownSince } = outcome
        const ref = refOf(commit, outcome)
        const own = { generation: 0, topicId: ref.topicId, partition: ref.partition, replays: 0 }
        if (result.kind === 'parked') {
          parkedNow.add(`${refKey(ref)} ${tenant} ${record.offset}`)
          const parked = { tenant, at: own, record, attempts, firstFailedAt, since: result.since, knownSince }
          changes.push({ kind: 'park', ref, row: parked, counts: false })
          continue
        }
        if (row === null) continue
        const at = { generation: row.generation, offset: record.offset }
        const there = tables.parked.get(refKey(ref))?.find((one) => isSame(one, tenant, at))
        const now = row.generation === 0 && parkedNow.has(`${refKey(ref)} ${tenant} ${record.offset}`)
        if (there === undefined && !now) refused.add(outcome.partition)
        else if (result.kind !== 'retried')
          changes.push({ kind: 'unpark', ref, origin: originOf(ref, outcome), tenant, at })
        else
          changes.push({
            kind: 'park',
            ref,
            row: {
              tenant,
              at: row,
              record,
              attempts: result.attempts,
              firstFailedAt,
              since: there?.since ?? 0,
              knownSince,
            },
            counts: result.failure.dependency === undefined,
          })
      }
      return refused.size > 0 ? new ServerError('TY001', 'a parked record has gone', [...refused].join(',')) : null
    },
  }
}

/** Bets that no key is known, nor stands twice. */
export function insertKeys(commit: Commit): Step {
  const asked = commit.outcomes.flatMap((outcome) => {
    const key = keyOf(commit, outcome)
    return key === undefined ? [] : [{ key, since: copySince(outcome) }]
  })
  const keys = asked.map(({ key }) => key)
  return {
    of: 'own',
    point: 'keys',
    locks: () => [...new Set(keys)].sort().map((key) => `key ${key}`),
    run: ({ tables }) =>
      new Set(keys).size < keys.length || asked.some(({ key, since }) => isKnown(tables.keys.get(key), since))
        ? new ServerError('23505', 'request_keys')
        : null,
  }
}

/** Tells `found` the places of those whose key is there, or stands before them. Waits for nobody, and takes no lock. */
export function lookKeysUp(commit: Commit, found: (duplicates: number[]) => void): Step {
  return {
    of: 'own',
    point: 'keys',
    locks: none,
    run: ({ tables }) => {
      const owners = new Set<string>()
      const duplicates: number[] = []
      // By position, whatever the order of decisions: the first copy owns the key, but for one that has it already.
      const places = [...commit.outcomes.entries()].sort(([, a], [, b]) => Number(holdsKey(b)) - Number(holdsKey(a)))
      for (const [place, outcome] of places) {
        const key = keyOf(commit, outcome)
        if (!key) continue
        if (isKnown(tables.keys.get(key), copySince(outcome)) || owners.has(key)) duplicates.push(place)
        else owners.add(key)
      }
      found(duplicates)
      return null
    },
  }
}

/** It was a dead letter, and is brought back: the key is its own. */
function holdsKey({ row }: Outcome): boolean {
  return row?.holdsKey === true
}

/** Everything after progress and keys, the commit itself included. */
export function effectSteps(commit: Commit): Step[] {
  const effects = commit.outcomes.flatMap(({ result }) => (result.kind === 'done' ? result.effects : []))
  const hot = effects.flatMap((effect) => (effect.kind === 'sql' ? [`row ${effect.values[0]}`] : []))
  return [
    {
      of: 'effect',
      point: 'effects',
      locks: none,
      run: () => (writes(effects, 'refusing') ? new ServerError('23514', 'a row violates a check') : null),
    },
    ...hot.map(
      (row): Step => ({ of: 'effect', point: null, locks: () => [row], lockTimeoutMs: 1_500, run: () => null }),
    ),
    states(commit),
    { of: 'own', point: null, locks: none, run: (tx) => record(commit, tx) },
    {
      of: 'effect',
      point: 'before commit',
      ends: 'commit',
      locks: none,
      run: () => (writes(effects, 'deferring') ? new ServerError('23503', 'a deferred constraint is violated') : null),
    },
  ]
}

export const rollback: Step = { of: 'own', point: null, ends: 'rollback', locks: none, run: () => null }

function writes(effects: readonly Effect[], table: string): boolean {
  return effects.some((effect) => effect.kind === 'row' && effect.shape.table === table)
}

/** The last state of each instance, bound to the partition that first wrote it. */
function states(commit: Commit): Step {
  const last = new Map<string, Change & { kind: 'state' }>()
  for (const outcome of commit.outcomes) {
    const { result, tenant, actor } = outcome
    const ref = refOf(commit, outcome)
    if (result.kind !== 'done' || result.state === null) continue
    const name = `${ref.group}/${actor}/${tenant}`
    last.set(name, { kind: 'state', name, tenant, partition: ref.partition, ...result.state })
  }
  return {
    of: 'effect',
    point: null,
    locks: () => [...last.keys()].sort().map((name) => `state ${name}`),
    run: ({ tables, changes }) => {
      for (const change of last.values()) {
        const before = tables.states.get(change.name)
        if (before && before.partition !== change.partition)
          return new ServerError('TY004', 'the state belongs to another partition')
        changes.push(change)
      }
      return null
    },
  }
}

function record(commit: Commit, { changes }: Transaction): ServerError | null {
  const places = new Map<number, number>()
  for (const outcome of commit.outcomes) {
    const ref = refOf(commit, outcome)
    const { result, firstFailedAt } = outcome
    const { offset } = outcome.record
    if (result.kind === 'parked') {
      if (outcome.retried) changes.push({ kind: 'unretry', ref, offset })
      continue
    }
    if (result.kind === 'retried' && outcome.row !== null) continue
    if (result.kind === 'retried') {
      const counts = result.failure.dependency === undefined
      changes.push({ kind: 'retry', ref, row: { offset, attempts: result.attempts, firstFailedAt }, counts })
      continue
    }
    if (outcome.retried) changes.push({ kind: 'unretry', ref, offset })
    changes.push({ kind: 'outcome', row: outcomeRow(commit, { ...outcome, result }, originOf(ref, outcome)) })
    for (const message of messagesOf(outcome, originOf(ref, outcome))) {
      const index = places.get(outcome.partition) ?? 0
      places.set(outcome.partition, index + 1)
      const seq = (commit.partitions[outcome.partition]?.seq ?? 0) + 1
      const row = { position: { seq, index }, tenant: outcome.tenant, ...message }
      changes.push({ kind: 'outbox', ref, origin: originOf(ref, outcome), offset, row })
    }
  }
  for (const { ref, published, breakers } of commit.partitions) {
    if (published) changes.push({ kind: 'unoutbox', ref, upTo: published })
    for (const change of breakers) changes.push({ kind: 'breaker', ref, change })
  }
  return null
}

function messagesOf(outcome: Outcome, ref: PartitionRef): Omit<OutboxRow, 'position' | 'tenant'>[] {
  const { result, record } = outcome
  if (result.kind === 'failed') {
    const { key, value, offset } = record
    const headers = deadLetterHeaders(outcome, result, ref)
    return [
      {
        topic: deadLetterTopic,
        messageId: result.messageId,
        key,
        value,
        headers,
        deadLetterOf: { topicId: ref.topicId, partition: ref.partition, offset },
      },
    ]
  }
  if (result.kind !== 'done') return []
  return result.effects.flatMap((effect) => {
    if (effect.kind !== 'publish') return []
    const { topic, messageId, key, value, headers } = effect
    return [{ topic, messageId, key, value, headers, deadLetterOf: null }]
  })
}

function outcomeRow(
  commit: Commit,
  outcome: Outcome & { readonly result: Exclude<Outcome['result'], { kind: 'retried' | 'parked' }> },
  ref: PartitionRef,
): OutcomeRow {
  const {
    result,
    attempts,
    tenant,
    actor,
    record: { offset },
  } = outcome
  return {
    ref,
    tenant,
    offset,
    actor,
    kind: result.kind,
    reason: result.kind === 'failed' ? result.failure.reason : result.kind === 'skipped' ? result.reason : '',
    attempts,
    messageId: result.kind === 'skipped' ? '' : result.messageId,
    key: keyOf(commit, outcome) ?? null,
    state: result.kind === 'done' ? (result.state?.json ?? null) : null,
    effects:
      result.kind === 'done'
        ? result.effects.flatMap((effect) => {
            if (effect.kind !== 'row') return []
            const [messageId, at, chain] = effect.values
            return [{ messageId: messageId ?? '', offset: Number(at), chain: chain ?? '' }]
          })
        : [],
  }
}

function keyOf(commit: Commit, outcome: Outcome): string | undefined {
  const { result, tenant } = outcome
  const key = result.kind === 'done' || result.kind === 'failed' ? result.key : null
  return key === null ? undefined : `${refOf(commit, outcome).group}/${tenant}/${key.uuid}`
}

/** Where the record was read. */
function originOf(ref: PartitionRef, { row }: Outcome): PartitionRef {
  return row === null ? ref : { ...ref, topicId: row.topicId, partition: row.partition }
}

function refOf(commit: Commit, outcome: Outcome): PartitionRef {
  const ref = commit.partitions[outcome.partition]?.ref
  if (ref === undefined) throw new Error('an outcome of a partition that its commit does not name')
  return ref
}
