import type { Mailbox } from './mailbox.ts'
import { Most } from './most.ts'

/** What a worker has, as the supervisor sees it. */
export type WorkerLoad = {
  /** Mailboxes whose instances it holds. */
  readonly open: number
  readonly inFlight: number
  /** The records that it has been at for longest, the longest first. */
  readonly longest: readonly Executing[]
}

export type Executing = {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly tenant: string
  readonly offset: number
  readonly forMs: number
}

/** Named for a worker, at most. */
const named = 10

/** What each worker has, by its number: one pass over all mailboxes. */
export function loadsOf(mailboxes: Iterable<Mailbox>, monotonic: number): ReadonlyMap<number, WorkerLoad> {
  const found = new Map<number, { open: number; inFlight: number; readonly longest: Most<Mailbox> }>()
  for (const mailbox of mailboxes) {
    if (!mailbox.open) continue
    let load = found.get(mailbox.worker)
    if (load === undefined) {
      load = { open: 0, inFlight: 0, longest: new Most(named) }
      found.set(mailbox.worker, load)
    }
    load.open++
    load.inFlight += mailbox.inFlightCount
    if (mailbox.inFlightCount > 0) load.longest.offer(monotonic - mailbox.runningSince, mailbox)
  }
  return new Map(
    [...found].map(([worker, { open, inFlight, longest }]) => [
      worker,
      { open, inFlight, longest: longest.take().map((mailbox) => executing(mailbox, monotonic)) },
    ]),
  )
}

function executing(mailbox: Mailbox, monotonic: number): Executing {
  return {
    ...mailbox.partition.facts,
    tenant: mailbox.tenant,
    offset: mailbox.oldestInFlight?.record.offset ?? -1,
    forMs: Math.max(0, Math.round(monotonic - mailbox.runningSince)),
  }
}
