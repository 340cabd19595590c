import type { Source } from '../../core/kafka/source.ts'
import type { Ledger, Ownership } from '../../core/postgres/ownership.ts'
import { Partition } from '../../supervisors/partition.ts'

// What parts of the engine are given when a test has them alone.

/** What was promised and needs no time has happened. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
}

const unexpected = () => Promise.reject(new Error('not expected here'))

export function stubSource(parts: Partial<Source> = {}): Source {
  return {
    start: unexpected,
    stop: unexpected,
    lingering: 0,
    seek() {},
    pause() {},
    resume() {},
    release() {},
    commit: unexpected,
    committed: unexpected,
    range: unexpected,
    offsetsAt: unexpected,
    describe: unexpected,
    clusterId: unexpected,
    ...parts,
  }
}

export function stubLedger(parts: Partial<Ledger> = {}): Ledger {
  return {
    topicProgress: unexpected,
    begin: unexpected,
    beginAgain: unexpected,
    takeOver: unexpected,
    standing: async (refs) => refs.map(() => ({ epoch: -1, kafkaOffset: -1 })),
    release: unexpected,
    runAlone: unexpected,
    runNoneAlone: unexpected,
    trust: unexpected,
    acceptOffset: unexpected,
    readOutbox: unexpected,
    findReplayed: unexpected,
    deleteOutbox: unexpected,
    loadStates: unexpected,
    readParked: unexpected,
    recordOffsets: unexpected,
    refuseOutbox: unexpected,
    breakerRequests: unexpected,
    ...parts,
  }
}

export const taken: Ownership = {
  epoch: 1,
  seq: 1,
  commitId: 'raise',
  watermark: 0,
  ahead: [],
  kafkaOffset: -1,
  inherited: [],
  breakers: [],
  retries: [],
  parked: [],
  rerun: null,
  lost: { count: 0, givenUp: 0, suspects: [] },
}

const retry = { delaysMs: [], byType: new Map<string, readonly number[]>(), jitter: 0 }

export function partition(number = 0, source: Source = stubSource()): Partition {
  const group = {
    name: 'g',
    source,
    actors: [],
    start: 'earliest',
    onForeignOffset: 'stop',
    onOutOfRange: 'stop',
    tenantHeader: null,
  } as const
  const actor = { index: 0, name: 'a', topic: 't', stateful: false, serial: false, dependencies: [], retry }
  return new Partition(group, actor, { topic: 't', partition: number }, 0, 0)
}
