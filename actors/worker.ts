import { systemClock } from '../core/clock.ts'
import { unpackDispatches } from './dispatch-frame.ts'
import { Instances } from './instances.ts'
import { PostgresKeys } from './known-keys.ts'
import { Outbound } from './outbound.ts'
import { catchOutput } from './output.ts'
import { ReadConnections } from './read-connections.ts'
import { PostgresReader } from './reader.ts'
import { Running } from './running.ts'
import { tenantColumn, Tables } from './tables.ts'
import type { ToWorker, WorkerSetup } from './thread-messages.ts'
import { loadTopology } from './topology.ts'
import { Vitals } from './vitals.ts'

/** A thread's one task: loads the actors, says ready, and serves the port until it is told to stop. */
export default async function work(setup: WorkerSetup): Promise<void> {
  const outbound = new Outbound(setup.port)
  catchOutput(outbound.log)
  const { actors } = await loadTopology(setup.actors)
  // One tenant's message must not leave a property behind that the next one's sees (a merge of constructor.prototype).
  for (const intrinsic of [Object.prototype, Array.prototype, Function.prototype]) Object.preventExtensions(intrinsic)
  const connections =
    setup.databaseUrl === '' ? undefined : new ReadConnections({ url: setup.databaseUrl, clock: systemClock })
  const running = new Running(new Vitals(setup.vitals), systemClock, setup.beatMs, () => outbound.beat(setup.beatMs))
  const services = {
    clock: systemClock,
    log: outbound.log,
    limits: setup.limits,
    tables: new Tables(setup.catalog, { tenantColumn, maxDepth: setup.limits.maxDepth }),
    reader: new PostgresReader(connections),
  }
  const weights = new Map(Object.entries(setup.tenantWeights))
  const instances = new Instances(
    actors.map(({ actor }) => actor),
    services,
    (decision, lane) => outbound.decide(decision, lane),
    {
      keys: connections === undefined ? undefined : new PostgresKeys(connections, outbound.log),
      running,
      timeoutMs: setup.handlerTimeoutMs,
      weightOf: (tenant) => weights.get(tenant) ?? 1,
      ...(setup.extra && {
        began: (mailbox, offset, identity) => outbound.began({ kind: 'began', mailbox, offset, identity }),
      }),
    },
  )
  const stopped = Promise.withResolvers<void>()
  setup.port.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'dispatch':
        instances.dispatch(...unpackDispatches(message, setup.limits.maxHeaders))
        outbound.flush()
        return
      case 'forget':
        instances.forget(message.mailboxes)
        return
      case 'catalog':
        services.tables.read(message.catalog)
        return
      case 'stop':
        stopped.resolve()
    }
  })
  setup.port.on('close', () => stopped.resolve())
  // A thread that ends of itself still says what it had decided.
  process.on('exit', () => outbound.flush())
  running.start()
  outbound.ready()
  await stopped.promise
  instances.end()
  outbound.flush()
  setup.port.close()
  await connections?.close()
}
