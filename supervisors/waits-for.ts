import type { Mailbox } from './mailbox.ts'
import type { Troubles } from './readiness.ts'

/** All that a mailbox may wait for; docs/architecture.md says until when. */
export const waits = [
  'turn',
  'running',
  'commit',
  'state',
  'retry',
  'held',
  'dependency',
  'blocked',
  'parked',
  'handover',
] as const

/** What a mailbox waits for: the word for it, what to know of it, and until when, in ms since 1970. */
export type WaitsFor = {
  readonly what: (typeof waits)[number]
  readonly reason: string
  readonly until?: number
  /** Monotonic time since which it has. */
  readonly since?: number
}

/** What the mailbox's oldest unfinished record waits for. */
export function waitsFor(mailbox: Mailbox, troubles: Troubles): WaitsFor {
  const { partition, decidedCount } = mailbox
  if (partition.phase === 'closing') return { what: 'handover', reason: 'its partition is given to another daemon' }
  const laneTrouble = troubles.get(`postgres.lane${partition.lane}`)
  const commit = { what: 'commit', reason: laneTrouble ?? '' } as const
  // Whatever comes after them waits: they are older.
  if (decidedCount > 0 && laneTrouble !== undefined) return commit
  const { waitingReason: reason, waitingUntil } = mailbox
  const until = waitingUntil > 0 ? { until: waitingUntil } : {}
  switch (mailbox.waiting) {
    case 'retrying':
      return { what: 'retry', reason, ...until }
    case 'held':
      return { what: 'held', reason, ...until }
    case 'dependency':
      return { what: 'dependency', reason, ...until }
    case 'blocked':
      // Of records that are nobody's there is none that waits but for its commit.
      return reason === '' ? commit : { what: 'blocked', reason }
    case 'settling':
      return commit
    case 'state':
      if (mailbox.items.length === 0) return parked(mailbox, troubles)
      return { what: 'state', reason: troubles.get('postgres.states') ?? '' }
    case 'nothing':
      if (decidedCount > 0) return commit
      if (mailbox.inFlightCount > 0) return { what: 'running', reason: '', since: mailbox.runningSince }
      return mailbox.items.length > 0 ? { what: 'turn', reason: '' } : parked(mailbox, troubles)
  }
}

/** Nothing of it is in its queue. */
function parked({ partition, parked: apart }: Mailbox, troubles: Troubles): WaitsFor {
  const wait = (reason: string): WaitsFor => ({ what: 'parked', reason })
  if (apart === null || (apart.leaving.size > 0 && apart.rows <= 0))
    return wait(troubles.get(`postgres.lane${partition.lane}`) ?? 'its records are on their way to PostgreSQL')
  if (!partition.caughtUp) return wait('what the partition’s last owner left undone comes first')
  return wait(troubles.get('postgres.parked') ?? 'its records are to be read back from PostgreSQL')
}
