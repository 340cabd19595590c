import { TenantryError } from '../../core/errors.ts'
import {
  type BreakerRequests,
  type Inherited,
  type Ledger,
  type LoneRecord,
  type LostOwners,
  noProgressCode,
  type OutboxPage,
  type Ownership,
  type ParkedPage,
  type ParkedWanted,
  type ReplayedTenant,
  type Standing,
  type Start,
  type StateRow,
  supersededCode,
  type TopicProgress,
} from '../../core/postgres/ownership.ts'
import type { OutboxPosition, ParkedPosition, PartitionRef } from '../../core/postgres/transactions.ts'
import { decide, lettersLock } from './operator.ts'
import type { PostgresClient } from './postgres-client.ts'
import { type PostgresServer, ServerError, type Transaction } from './postgres-server.ts'
import { isAfter, position, type ProgressRow, refKey } from './postgres-tables.ts'
import type { SimulatedOwners } from './simulated-owners.ts'

export type SimulatedLedgerOptions = {
  readonly client: PostgresClient
  readonly frozenAfterMs: number
  readonly owners: SimulatedOwners
  /** Told when a raise is sent, for the rule that a late one proves membership first. */
  readonly raising: (ref: PartitionRef) => void
}

const takeOverLockTimeoutMs = 2_000
/** So few that most takeovers find more. */
const pageRows = 2

/** What ownership asks of the model of PostgreSQL, as core/postgres/ledger.ts asks the real one. */
export class SimulatedLedger implements Ledger {
  readonly #options: SimulatedLedgerOptions

  constructor(options: SimulatedLedgerOptions) {
    this.#options = options
  }

  topicProgress(group: string, topic: string, topicId: string): Promise<TopicProgress> {
    return this.#options.client.once('topic progress', {
      run: ({ tables }) => {
        const rows = tables.topics.filter((row) => row.group === group && row.topic === topic)
        const own = rows.find((row) => row.topicId === topicId)
        return {
          partitions: own?.partitions ?? 0,
          recreated: own === undefined && rows.length > 0,
          superseded: own !== undefined && own !== rows.at(-1),
          clusterId: rows.at(-1)?.clusterId ?? '',
        }
      },
    })
  }

  async begin(
    group: string,
    topic: string,
    topicId: string,
    clusterId: string,
    partitions: number,
    starts: readonly Start[],
  ): Promise<void> {
    const commitId = this.#options.client.server.random.uuid()
    await this.#options.client.once('begin', {
      locks: [`begin ${group}/${topic}`],
      run: ({ tables, changes }) => {
        for (const { ref, position } of starts) {
          if (tables.last(ref)) continue
          changes.push({
            kind: 'progress',
            reason: 'begin',
            ref,
            row: { epoch: 0, seq: 0, commitId, watermark: position, ahead: [], kafkaOffset: -1 },
          })
        }
        changes.push({ kind: 'topic', group, topic, topicId, clusterId, partitions, again: false })
        return true
      },
    })
  }

  async beginAgain(group: string, topic: string, topicId: string): Promise<void> {
    const { client } = this.#options
    await client.once('begin again', {
      locks: [`begin ${group}/${topic}`],
      run: ({ tables, changes }) => {
        client.server.chaos.mark('a topic was begun again')
        const own = tables.topics.find((row) => row.group === group && row.topicId === topicId)
        if (own) changes.push({ kind: 'topic', ...own, again: true })
        return true
      },
    })
  }

  async takeOver(ref: PartitionRef): Promise<Ownership> {
    const { client, owners, raising } = this.#options
    const { chaos } = client.server
    raising(ref)
    chaos.at('take over sent', client.process)
    const inherited: Inherited[] = []
    for (const older of await this.#inherits(ref)) {
      const { commitId } = await this.#raise(older, ref, ({ changes }) =>
        changes.push({ kind: 'adopt', ref: older, heir: ref }),
      )
      inherited.push({ ref: older, commitId })
    }
    let lost: LostOwners = { count: 0, givenUp: 0, suspects: [] }
    const row = await this.#raise(ref, ref, (tx, last) => {
      const { count, givenUp, suspects } = owners.take(tx, client.process.name, ref, last)
      lost = { count, givenUp, suspects }
    })
    const left = await client.once('parked', { run: ({ tables }) => tables.parked.get(refKey(ref)) ?? [] })
    const retries = await client.once('retries', {
      run: ({ tables }) => [...(tables.retries.get(refKey(ref))?.values() ?? [])],
    })
    const breakers = await client.once('breakers', {
      run: ({ tables }) => [...(tables.breakers.get(refKey(ref))?.values() ?? [])],
    })
    const rerun = await client.once('rerun', { run: ({ tables }) => [tables.reruns.get(refKey(ref))] })
    chaos.at('taken over', client.process)
    return {
      epoch: row.epoch,
      seq: row.seq,
      commitId: row.commitId,
      watermark: row.watermark,
      ahead: row.ahead,
      kafkaOffset: row.kafkaOffset,
      inherited,
      retries,
      parked: [...Map.groupBy(left, ({ tenant }) => tenant)].map(([tenant, rows]) => ({
        tenant,
        rows: rows.filter(({ at }) => at.replays === 0).length,
        replayed: rows.some(({ at }) => at.replays > 0),
        since: Math.min(...rows.map(({ since }) => since)),
      })),
      breakers,
      rerun: rerun.find((one) => one !== undefined && one.to > row.watermark) ?? null,
      lost,
    }
  }

  async release(owned: readonly { readonly ref: PartitionRef; readonly epoch: number }[]): Promise<void> {
    await this.#options.client.once('release', {
      run: ({ tables, changes }) => {
        for (const { ref, epoch } of owned) {
          const row = tables.owners.get(refKey(ref))
          if (row?.epoch === epoch) changes.push({ kind: 'owner', ref, row: { ...row, released: true } })
        }
        return true
      },
    })
  }

  async runAlone(ref: PartitionRef, epoch: number, record: LoneRecord): Promise<boolean> {
    const { client, owners } = this.#options
    const noted = await client.once('run alone', {
      run: (tx) => ({ done: owners.runAlone(tx, client.process.name, ref, epoch, record) }),
    })
    client.server.chaos.at('noted alone', client.process)
    return noted.done
  }

  async runNoneAlone(): Promise<void> {
    const { client, owners } = this.#options
    await client.once('run none alone', {
      run: (tx) => {
        owners.end(tx, client.process.name, null)
        return true
      },
    })
  }

  async trust(ref: PartitionRef, epoch: number): Promise<void> {
    const { client, owners } = this.#options
    await client.once('trust', {
      run: (tx) => {
        owners.trust(tx, ref, epoch)
        return true
      },
    })
  }

  standing(refs: readonly PartitionRef[]): Promise<readonly Standing[]> {
    return this.#options.client.once('standing', {
      run: ({ tables }) => refs.map((ref) => tables.last(ref) ?? { epoch: -1, kafkaOffset: -1 }),
    })
  }

  async acceptOffset(ref: PartitionRef, { commitId }: Pick<Ownership, 'commitId'>, position: number): Promise<void> {
    const { client } = this.#options
    await client.once('accept', {
      locks: [`partition ${refKey(ref)}`, lettersLock],
      run: (tx) => {
        const last = tx.tables.last(ref)
        if (last?.commitId !== commitId) return true
        client.server.chaos.mark("Kafka's offset accepted")
        return decide(tx, client.server.tick(), ref, { what: 'reset', position, dropParked: false })
      },
    })
  }

  deleteOutbox({ ref, commitId }: Inherited, upTo: OutboxPosition): Promise<boolean> {
    return this.#options.client.once('delete outbox', {
      locks: [`partition ${refKey(ref)}`],
      run: ({ tables, changes }) => {
        const last = tables.last(ref)
        const own = last?.commitId === commitId
        if (own) changes.push({ kind: 'unoutbox', ref, upTo })
        else this.#options.client.server.chaos.mark('an heir was disinherited')
        return own
      },
    })
  }

  readOutbox(ref: PartitionRef, after: OutboxPosition | null): Promise<OutboxPage> {
    const { client } = this.#options
    client.server.chaos.at('outbox asked', client.process)
    return client.once('outbox', {
      run: ({ tables }) => {
        const rows = tables.outbox.get(refKey(ref)) ?? []
        const further = after === null ? rows : rows.filter(({ position }) => isAfter(position, after))
        return { rows: further.slice(0, pageRows), more: Math.max(0, further.length - pageRows) }
      },
    })
  }

  loadStates(group: string, actor: string, tenants: readonly string[]): Promise<readonly StateRow[]> {
    const { client } = this.#options
    client.server.chaos.at('states asked', client.process)
    return client.once('states', {
      run: ({ tables }) =>
        tenants.flatMap((tenant) => {
          const state = tables.states.get(`${group}/${actor}/${tenant}`)
          return state ? [{ tenant, ...state }] : []
        }),
    })
  }

  readParked(ref: PartitionRef, wanted: readonly ParkedWanted[], maxBytes: number): Promise<ParkedPage> {
    const { client } = this.#options
    client.server.chaos.at('parked asked', client.process)
    return client.once('parked', {
      run: ({ tables }) => {
        const found = wanted.flatMap(({ tenant, after, rows }) =>
          (tables.parked.get(refKey(ref)) ?? [])
            .filter((row) => row.tenant === tenant && (after === null || isBefore(after, position(row))))
            .sort((a, b) => (isBefore(position(a), position(b)) ? -1 : 1))
            .slice(0, rows),
        )
        let bytes = 0
        const rows = found.filter(({ record }) => {
          const before = bytes
          bytes += 200 + (record.key?.length ?? 0) + (record.value?.length ?? 0)
          return before < maxBytes
        })
        return { rows, cut: bytes >= maxBytes }
      },
    })
  }

  findReplayed(refs: readonly PartitionRef[]): Promise<readonly ReplayedTenant[]> {
    return this.#options.client.once('replayed', {
      run: ({ tables }) =>
        refs.flatMap((ref, place) => {
          const rows = (tables.parked.get(refKey(ref)) ?? []).filter(({ at }) => at.replays > 0)
          const sorted = rows.sort((a, b) => (isBefore(position(a), position(b)) ? -1 : 1))
          return [...Map.groupBy(sorted, ({ tenant }) => tenant)].flatMap(([tenant, [first]]) =>
            first === undefined ? [] : [{ place, tenant, first: position(first) }],
          )
        }),
    })
  }

  /** Nothing that is promised rests on it. */
  recordOffsets(): Promise<void> {
    return Promise.resolve()
  }

  /** No operator is at work. */
  breakerRequests(): Promise<BreakerRequests> {
    return Promise.resolve({ trips: [], resets: [] })
  }

  async refuseOutbox(ref: PartitionRef, position: OutboxPosition, _reason: string): Promise<void> {
    await this.#options.client.once('refuse', {
      run: ({ changes }) => {
        changes.push({ kind: 'refused', ref, position })
        return true
      },
    })
  }

  #inherits(ref: PartitionRef): Promise<PartitionRef[]> {
    return this.#options.client.once('inherits', {
      run: ({ tables }) => {
        const topics = tables.topics.filter(({ group, topic }) => group === ref.group && topic === ref.topic)
        const own = topics.findIndex(({ topicId }) => topicId === ref.topicId)
        const count = topics[own]?.partitions ?? 1
        return topics
          .slice(0, Math.max(own, 0))
          .flatMap(({ topicId, partitions }) =>
            Array.from({ length: partitions }, (_, partition) => ({ ...ref, topicId, partition })).filter(
              ({ partition }) => partition % count === ref.partition,
            ),
          )
      },
    })
  }

  /** As sys.fn_raise, for `heir`. The topic's lock is exclusive here, which only waits more. `also` happens with it. */
  async #raise(
    ref: PartitionRef,
    heir: PartitionRef,
    also: (tx: Transaction, last: ProgressRow) => void,
  ): Promise<ProgressRow> {
    const { client, frozenAfterMs } = this.#options
    const { server, process } = client
    const lock = `partition ${refKey(ref)}`
    try {
      return await client.once('raise', {
        locks: [lock, `begin ${ref.group}/${ref.topic}`],
        lockTimeoutMs: takeOverLockTimeoutMs,
        run: (tx) => {
          const last = tx.tables.last(ref)
          if (last === undefined) return new ServerError('TY002', 'the partition has no progress row')
          const newest = tx.tables.topics.findLast(({ group, topic }) => group === ref.group && topic === ref.topic)
          if (newest?.topicId !== heir.topicId) return superseded(server)
          const row: ProgressRow = { ...last, epoch: last.epoch + 1, seq: last.seq + 1, commitId: server.random.uuid() }
          tx.changes.push({ kind: 'progress', reason: 'raise', ref, row })
          also(tx, last)
          server.chaos.at('raised', process)
          return row
        },
      })
    } catch (thrown) {
      if (!(thrown instanceof ServerError)) throw thrown
      if (thrown.code === '55P03') {
        server.chaos.mark('a frozen holder was ended')
        await client.once('end holders', {
          run: () => {
            const holder = server.locks.holderOf(lock)
            if (holder && holder.age > frozenAfterMs) holder.terminate()
            return true
          },
        })
      }
      if (thrown.code === 'TY008')
        throw new TenantryError(supersededCode, 'a later topic of this name was begun', { topic: ref.topic })
      if (thrown.code !== 'TY002') throw thrown
      throw new TenantryError(noProgressCode, 'the partition has no progress row', {
        topic: ref.topic,
        partition: ref.partition,
      })
    }
  }
}

function superseded({ chaos }: PostgresServer): ServerError {
  chaos.mark('a claim of an earlier topic was refused')
  return new ServerError('TY008', 'the group has begun a later topic of this name')
}

function isBefore(a: ParkedPosition, b: ParkedPosition): boolean {
  return a.generation < b.generation || (a.generation === b.generation && a.offset < b.offset)
}
