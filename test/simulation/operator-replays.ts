import type { ParkedAt, PartitionRef } from '../../core/postgres/transactions.ts'
import { Process } from './event-loop.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import type { PostgresServer, Transaction } from './postgres-server.ts'
import { lettersLock } from './operator.ts'
import { type LetterRow, refKey } from './postgres-tables.ts'

/** As often as an operator may bring one record back. */
const maxReplays = 3

/** An operator's session: what sys.fn_replay_dead_letters does with those of the open dead letters that are `wanted`. */
export function operatorReplays(
  server: PostgresServer,
  cluster: KafkaCluster,
  batch: number,
  wanted: (letter: LetterRow) => boolean,
): void {
  if (server.away) return
  const backend = server.open(new Process('operator'))
  const point = null
  backend.send([
    {
      point,
      // The first are those of fn_begin_topic.
      locks: ({ tables }) => [
        ...[...new Set(tables.topics.map(({ group, topic }) => `begin ${group}/${topic}`))].sort(),
        lettersLock,
      ],
      run: (tx) => {
        for (const letter of tx.tables.letters.values())
          if (letter.open && letter.tenant !== '' && letter.replays < maxReplays && wanted(letter))
            replay(tx, cluster, batch, letter)
        return null
      },
      answer: () => {},
    },
    { point, locks: () => [], run: () => null, ends: 'commit', answer: () => backend.end(false) },
  ])
}

function replay({ tables, changes }: Transaction, cluster: KafkaCluster, batch: number, letter: LetterRow): void {
  const { ref: origin, offset, tenant, replays, holdsKey } = letter
  const record = cluster.topicById(origin.topicId)?.logs[origin.partition]?.entries[offset]
  const heir = tables.topics.findLast(({ group, topic }) => group === origin.group && topic === origin.topic)
  if (!record || heir === undefined) return
  const own = heir.topicId === origin.topicId
  const partition = own ? origin.partition : origin.partition % heir.partitions
  const ref: PartitionRef = { ...origin, topicId: heir.topicId, partition }
  const there = [
    ...(tables.parked.get(refKey(ref)) ?? []),
    ...changes.flatMap((change) =>
      change.kind === 'replay' && refKey(change.ref) === refKey(ref) ? [change.row] : [],
    ),
  ]
  const beside = there.find(({ at }) => at.topicId === origin.topicId && at.partition === origin.partition)
  const generation = own ? 0 : (beside?.at.generation ?? Math.min(0, ...there.map(({ at }) => at.generation)) - 1)
  const { topicId, partition: from } = origin
  const at: ParkedAt = { generation, topicId, partition: from, replays: replays + 1, holdsKey, batch }
  changes.push({
    kind: 'replay',
    ref,
    origin,
    row: { tenant, at, record, attempts: 0, firstFailedAt: 0, since: 0, knownSince: null },
  })
}
