import type { Worker } from 'node:worker_threads'
import { type Clock, sleep } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Executing, WorkerLoad } from './executing.ts'
import { stacksOf } from './thread-stacks.ts'
import { WorkerUtilisation } from './worker-utilisation.ts'

export type ThreadDumpOptions = {
  readonly clock: Clock
  readonly log: Log
  /** By the workers' numbers. */
  readonly threads: ReadonlyMap<number, Worker>
  readonly loads: ReadonlyMap<number, WorkerLoad>
  /** Threads that were told to end and have not. */
  readonly lingering: number
}

/** Over how long a thread's utilisation is measured. */
const measureMs = 250
/** How long a thread's heap statistics are waited for: one in a call of the operating system's does not give them. */
const heapPatienceMs = 1_000
/** From here on it is asked where its code is. */
const busy = 0.9

/**
 * Writes what each thread does into the log: one line a worker, and one for the process. For whoever wonders why nothing
 * moves; what runs is not stopped.
 */
export async function dumpThreads(options: ThreadDumpOptions): Promise<void> {
  const { clock, log, threads, loads, lingering } = options
  const workers = [...threads]
  const measured = new WorkerUtilisation()
  measured.read([...threads.values()])
  await sleep(clock, measureMs)
  const shares = measured.read([...threads.values()])
  const hot = workers.filter((_, i) => (shares[i] ?? 0) >= busy).map(([, { threadId }]) => threadId)
  const stacks = await stacksOf(new Set(hot), clock).catch((error: unknown) => {
    log.warn('threads.no_stacks', { reason: messageOf(error) }, 'The threads could not be asked where their code is.')
    return new Map<number, readonly string[]>()
  })
  await Promise.all(
    workers.map(async ([worker, thread], i) => {
      const load = loads.get(worker)
      const share = shares[i]
      const stack = stacks.get(thread.threadId)
      log.info(
        `threads.worker.${worker}`,
        {
          worker,
          thread: thread.threadId,
          ...(share !== undefined && { utilisation: Math.round(share * 100) / 100 }),
          ...(await heapOf(thread, clock)),
          mailboxes: load?.open ?? 0,
          inFlight: load?.inFlight ?? 0,
          executing: (load?.longest ?? []).map(executed),
          ...(stack !== undefined && { stack }),
        },
        saidOf(share, stack),
      )
    }),
  )
  const { rss, heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage()
  log.info(
    'threads.process',
    {
      workers: workers.length,
      lingering,
      residentBytes: rss,
      heapUsedBytes: heapUsed,
      heapTotalBytes: heapTotal,
      externalBytes: external,
      arrayBufferBytes: arrayBuffers,
    },
    'What the process holds, and the heap of the thread that supervises.',
  )
}

function saidOf(share: number | undefined, stack: readonly string[] | undefined): string {
  if (share === undefined) return 'What a worker thread has to do. How busy it is, this runtime does not tell.'
  if (share < busy) return 'What a worker thread has to do.'
  if (stack === undefined)
    return 'A worker thread that is busy and cannot be asked where: it waits in a call that nothing interrupts.'
  return 'A worker thread that is busy, and where its code was met most often.'
}

function executed({ tenant, topic, partition, offset, forMs }: Executing): string {
  return `tenant ${tenant}, ${topic}-${partition}, offset ${offset}, for ${forMs} ms`
}

async function heapOf(thread: Worker, clock: Clock): Promise<{ heapUsedBytes?: number; heapLimitBytes?: number }> {
  try {
    const asked = thread
      .getHeapStatistics()
      .then(({ used_heap_size: heapUsedBytes, heap_size_limit: heapLimitBytes }) => ({
        heapUsedBytes,
        heapLimitBytes,
      }))
    // One that comes too late, or from a thread that ends meanwhile, is nobody's concern.
    asked.catch(() => {})
    return await Promise.race([asked, sleep(clock, heapPatienceMs).then(() => ({}))])
  } catch {
    return {}
  }
}
