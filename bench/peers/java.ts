import { classPathOf, type JavaModule, javaProgram, versionsOf } from './java-build.ts'
import { heartbeatMs, type Peer, type PeerCommand, sessionMs, type WorkKind } from './peer.ts'

/**
 * The same for all. The heap is of one size from the start, so that pauses to grow it are in no figure; no other size was
 * tried.
 */
const flags = [
  '-Xms512m',
  '-Xmx512m',
  '-XX:+ExitOnOutOfMemoryError',
  '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
  `-Dpeer.sessionMs=${sessionMs}`,
  `-Dpeer.heartbeatMs=${heartbeatMs}`,
]

type Program = {
  readonly name: string
  readonly module: JavaModule
  /** Its class, in package peers. */
  readonly main: string
  readonly args?: readonly string[]
  readonly library: string
  readonly works: readonly WorkKind[]
}

const programs: readonly Program[] = [
  {
    name: 'java-consumer',
    module: 'java-consumer',
    main: 'JavaConsumer',
    library: 'org.apache.kafka:kafka-clients, a loop that does nothing',
    works: ['nothing'],
  },
  {
    name: 'parallel-consumer',
    module: 'parallel-consumer',
    main: 'ParallelConsumerThreads',
    library: 'io.confluent.parallelconsumer, a pool of threads',
    works: ['nothing', 'row', 'transaction', 'batch', 'wait', 'waits', 'http'],
  },
  {
    name: 'parallel-consumer-reactor',
    module: 'parallel-consumer',
    main: 'ParallelConsumerReactor',
    library: 'io.confluent.parallelconsumer, Reactor',
    works: ['wait', 'waits', 'http'],
  },
  {
    name: 'parallel-consumer-vertx',
    module: 'parallel-consumer',
    main: 'ParallelConsumerVertx',
    library: 'io.confluent.parallelconsumer, Vert.x',
    works: ['wait', 'waits', 'http'],
  },
  {
    name: 'spring-kafka-record',
    module: 'spring-kafka',
    main: 'SpringKafka',
    args: ['record'],
    library: 'org.springframework.kafka, record listener',
    works: ['nothing', 'row', 'transaction', 'wait', 'waits', 'http'],
  },
  {
    name: 'spring-kafka-batch',
    module: 'spring-kafka',
    main: 'SpringKafka',
    args: ['batch'],
    library: 'org.springframework.kafka, batch listener',
    works: ['nothing', 'batch'],
  },
]

/** The peers written in Java. `command` throws TENANTRY_PEER_NOT_BUILT where one cannot be had, and why. */
export const javaPeers: readonly Peer[] = programs.map((program) => ({
  name: program.name,
  runtime: 'java',
  library: program.library,
  works: program.works,
  command: () => commandOf(program),
  versions: () => versionsOf(program.module),
}))

async function commandOf({ module, main, args = [] }: Program): Promise<PeerCommand> {
  const classPath = await classPathOf(module)
  return { program: javaProgram(), args: [...flags, '-cp', classPath, `peers.${main}`, ...args] }
}
