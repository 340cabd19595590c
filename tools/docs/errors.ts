import { exitCodeOf } from '../../cli/exit.ts'
import { TenantryError } from '../../core/errors.ts'
import { code, markdownTable } from './tables.ts'

type Entries = Readonly<Record<string, string>>

/** Every code, by where it is met, with what it means and what to do. */
const groups: readonly { readonly title: string; readonly intro: string; readonly entries: Entries }[] = [
  {
    title: 'Command line and configuration',
    intro: 'The exit code is the one that a command ends with.',
    entries: {
      TENANTRY_USAGE: 'An option or argument is malformed. The message shows the right form.',
      TENANTRY_CONFIG_INVALID:
        'The configuration has problems, each named with file, line and key. Repair them all; `tenantry config validate` checks.',
      TENANTRY_CONFIG_UNKNOWN_KEY: 'There is no such key. The nearest one is named; `tenantry config print` shows all.',
      TENANTRY_KAFKA_OPTION_REFUSED:
        'A key of librdkafka would break a guarantee. Remove it; docs/configuration.md gives the reasons.',
      TENANTRY_TOPIC_INVALID:
        "A topic's settings contradict each other, or Kafka refuses them. Repair them under topics.",
      TENANTRY_TOPIC_TWICE: 'A topic is specified twice. Keep one.',
      TENANTRY_HTTP_PORT_TAKEN: 'Another process listens at http.port. Choose another, or 0 for a free one.',
      TENANTRY_HTTP_CANNOT_LISTEN: 'http.host or http.port cannot be listened at (no such address, no right).',
      TENANTRY_RUNTIME_VERSION:
        'Node is older than 22.22 or 24.6, or Bun older than 1.4. The version found is named. Upgrade it.',
      TENANTRY_SERVER_UNREACHABLE: 'Kafka or PostgreSQL cannot be reached. The reason is in the message.',
      TENANTRY_SERVER_REFUSED:
        'Kafka or PostgreSQL refuses this login, or this act to it. The reason is in the message.',
      TENANTRY_BUG: 'An error that tenantry did not raise on purpose. Please report it with its lines.',
    },
  },
  {
    title: 'Actors, when they are loaded',
    intro: '`tenantry start --check` finds these without consuming anything.',
    entries: {
      TENANTRY_ACTORS_NOT_FOUND: 'actors.folder does not exist or holds no actors.',
      TENANTRY_ACTOR_UNLOADABLE:
        'A file cannot be loaded, which it may take half a minute for, or its default export is no actor. The file and the reason are named.',
      TENANTRY_BAD_ACTOR: 'defineActor was given something that cannot work. The message says what.',
      TENANTRY_TWO_ACTORS: 'Two files have an actor for one group and topic. Fan-out is another group.',
      TENANTRY_GROUP_UNKNOWN: "An actor's group is not configured. Add it under groups, with where it starts.",
      TENANTRY_TOPIC_WITHOUT_ACTOR: 'groups.<name>.topics lists a topic that no actor of the group takes.',
      TENANTRY_TIMEOUT_ORDER:
        "A call may take as long as its handler, or a handler as long as a breaker waits for it. Put the dependency's timeoutMs, the handler's and breaker.probeTimeout in this order.",
      TENANTRY_UNKNOWN_TABLE:
        'A table that an actor declares or writes does not exist, or may not be inserted into. While the daemon runs it is looked for again before a message is blamed.',
    },
  },
  {
    title: 'PostgreSQL',
    intro:
      'A daemon waits for a server that is away, not ready, and goes on by itself; it ends where waiting does not help.',
    entries: {
      TENANTRY_POSTGRES_UNAVAILABLE: 'PostgreSQL cannot be reached. Check postgres.url and the server.',
      TENANTRY_POSTGRES_TIMEOUT: 'PostgreSQL did not answer a connection in time.',
      TENANTRY_POSTGRES_SILENT:
        'PostgreSQL took a statement and did not answer in time. A daemon gives the connection up and tries again over a new one; a command ends, and what was under way may have been done or not: look before you run it again.',
      TENANTRY_POSTGRES_ADDRESS: 'postgres.url names no host.',
      TENANTRY_POSTGRES_VERSION:
        'The server is older than PostgreSQL 17, which tenantry needs. The version found is named. Upgrade the server.',
      TENANTRY_POSTGRES_POOLED:
        "A pooler such as PgBouncer stands before the server and does not keep a session's settings. Set postgres.url, and postgres.migrateUrl, to the server itself.",
      TENANTRY_POSTGRES_REFUSED:
        'The login is refused, or may not do this. Migrations need the owner of schema sys (postgres.migrateUrl).',
      TENANTRY_DATABASE_MISSING: 'The server has no database of that name. Create it, or correct postgres.url.',
      TENANTRY_DATABASE_ENCODING:
        "The database's encoding is not UTF8, so it cannot hold every message. Create one that is: `create database … encoding 'UTF8' template template0`.",
      TENANTRY_POSTGRES_FAILED:
        "The server could not do what was asked. The reason is in the message, and more in the server's own log.",
      TENANTRY_SCHEMA_OLD: 'The schema is older than this version needs. Run `tenantry migrate up`.',
      TENANTRY_SCHEMA_NEWER: 'The schema is newer than this version knows. Use the newer version.',
      TENANTRY_SCHEMA_CHANGED:
        'A migration that was applied differs from the file. Restore the file; changes go into a new migration.',
      TENANTRY_MIGRATION_FAILED: 'A migration failed and was rolled back whole. Repair the cause and run it again.',
      TENANTRY_LANE_CLOSED: "A lane's connection broke. Its commit's fate is looked up; nothing to do.",
      TENANTRY_LANE_SILENT: 'PostgreSQL did not answer a read in time. It is read again over a new connection.',
      TENANTRY_LANE_REUSED:
        'A lane was asked for a second connection, which it never opens. Nothing to do; it starts anew.',
      TENANTRY_COMMIT_UNANSWERED:
        'PostgreSQL did not answer a commit in time (commit.answerDeadline). Its fate is looked up; nothing to do.',
      TENANTRY_COMMIT_UNCLEAR: 'PostgreSQL rolled a commit back without a reason. It is looked up and sent again.',
      TENANTRY_BACKEND_FROZEN:
        "A backend that holds a commit was told to end and has not. It is waited for; if it stays, look at that process on the database's machine.",
      TENANTRY_NO_ANSWER: 'A takeover got no row. It is tried again.',
      TENANTRY_COMMIT_BROKEN:
        'A statement of ours was refused for a reason that is no fault of the surroundings. The daemon drains and ends: please report it.',
      TENANTRY_PROGRESS_MISSING:
        'A partition has lost its row in sys.partition_progress. The partition stops: restore the row, or say where it is to begin by `tenantry offsets reset`.',
    },
  },
  {
    title: 'Kafka',
    intro: 'A daemon goes on trying; these are in its log and in /health/ready.',
    entries: {
      TENANTRY_KAFKA_UNAVAILABLE:
        'Kafka did not do what was asked: away, or not allowed. The reason is in the message.',
      TENANTRY_KAFKA_STALLED: 'Polls returned nothing although the log went on. The consumer joins again by itself.',
      TENANTRY_KAFKA_OTHER_TOPIC:
        'A topic was deleted and made anew while its client, librdkafka, read it. A new client joins by itself; nothing of the new topic was read under the position of the old one.',
      TENANTRY_KAFKA_FATAL: 'The client met an error that it cannot mend. A new client joins by itself.',
      TENANTRY_KAFKA_PROTOCOL:
        'The brokers are older than Kafka 4.0, or set to do without the group protocol `consumer` (KIP-848). Set consumer.protocol to classic, or upgrade them.',
      TENANTRY_DRIVER_UNAVAILABLE:
        'kafka.driver is confluent, and its addon does not load here. Set auto or platformatic, or build the addon.',
      TENANTRY_INSTANCE_FENCED:
        'A newer member uses the same groups.<name>.instanceId. This daemon drains and ends: give each its own.',
      TENANTRY_INSTANCE_IN_USE:
        'Another member uses the same groups.<name>.instanceId. Give each daemon its own; this one waits.',
      TENANTRY_NOT_A_MEMBER: "The group's coordinator does not know this member any more. It joins again by itself.",
      TENANTRY_PARTITION_UNSEEN:
        'A partition was assigned that the broker that was asked does not know yet: it has just been added. It is waited for; nothing to do.',
      TENANTRY_TOPIC_SUPERSEDED:
        'The topic was recreated, and the broker that was asked does not know it yet. It is waited for; nothing to do.',
      TENANTRY_TOPIC_MISSING: 'A topic does not exist. Create it, or run `tenantry topics apply`.',
      TENANTRY_START_MISSING:
        'A group sees a topic for the first time, and nothing says where to begin. Set groups.<name>.start.',
      TENANTRY_FOREIGN_OFFSET:
        "Somebody moved the group's offset with Kafka's own tools. The partition stops until `tenantry offsets accept` or `ignore`, or consumer.onForeignOffset, decides.",
      TENANTRY_OWNERS_LOST:
        'Process after process has ended while it ran records of a partition, one at a time, and two records in a row have cost two each: perhaps it is not the records. Mend the actor, or what it calls; then `tenantry offsets ignore`.',
      TENANTRY_OTHER_CLUSTER:
        "The group's progress belongs to another Kafka cluster. Use another group or another database.",
      TENANTRY_BATCH_CORRUPT:
        "A batch's checksum is wrong. It is fetched again; if that does not help, the broker's log is damaged.",
      TENANTRY_BATCH_FORMAT: 'A batch is in a format from before Kafka 0.11, which is not read.',
    },
  },
  {
    title: 'Messages and handlers',
    intro: 'These concern one message. It becomes a dead letter with this error; no other tenant is held up.',
    entries: {
      TENANTRY_BAD_RECORD: 'The record can never be processed. docs/envelope.md lists the reasons.',
      TENANTRY_REJECTED: 'The handler threw Rejected: the message is given up at once.',
      TENANTRY_BAD_VALUE:
        'A value cannot be written into its column. Column and reason are named. The column is looked at again before a message is blamed.',
      TENANTRY_UNKNOWN_COLUMN:
        'A column does not exist, or is generated. The nearest one is named. It is looked for again before a message is blamed.',
      TENANTRY_BAD_CONFLICT: 'An upsert names columns without a unique constraint, or one without the tenant.',
      TENANTRY_OTHER_TENANT: "A row names another tenant than the message's. Leave the column out.",
      TENANTRY_BAD_STATEMENT:
        'ctx.sql was not used as a tag, or with a statement that it does not take; or ctx.sql or ctx.query has too many parameters.',
      TENANTRY_BAD_OUTGOING: 'A message cannot be published as it is. The message says what is wrong with it.',
      TENANTRY_NOT_JSON: 'A value cannot be written as JSON. Its path is named.',
      TENANTRY_NOT_DECLARED:
        'The actor uses what its definition does not declare (state, reads, serial consistency, a table).',
      TENANTRY_UNKNOWN_DEPENDENCY: "ctx.call names a dependency that is not among the actor's.",
      TENANTRY_CALL_TIMEOUT: 'A dependency did not answer in time.',
      TENANTRY_HANDLER_TIMEOUT:
        "The handler waited for longer than its actor's timeoutMs, or workers.handlerTimeout. Give what it waits for a limit of its own, and hand ctx.signal to it.",
      TENANTRY_TOO_MANY_EFFECTS: 'A message has more effects than limits.maxEffects or limits.maxEffectBytes allow.',
      TENANTRY_STATE_TOO_LARGE: "The actor's state has outgrown limits.maxStateBytes.",
      TENANTRY_STATE_UNREADABLE:
        'The stored state does not fit the schema, or is of a newer version. That tenant waits: deploy the actor that can read it.',
      TENANTRY_CONTEXT_CLOSED: 'ctx was used after its handler had ended. Await everything that the handler starts.',
      TENANTRY_MAILBOX_GONE:
        'The partition was given up while the handler ran. Nothing of it is committed; it runs again elsewhere.',
      TENANTRY_DATABASE_AWAY:
        'PostgreSQL could not be read from for ten minutes, or the thread ended meanwhile. Reads are tried again by themselves; see that the server can be reached.',
      TENANTRY_NO_DATABASE: 'ctx.query was used where there is no database, as in a unit test without one.',
    },
  },
  {
    title: 'Worker threads',
    intro:
      "A thread is replaced and its messages run again; `worker.lost` in the log has one of these, or the runtime's own error. A message that was the cause three times, by itself, becomes a dead letter with it.",
    entries: {
      TENANTRY_WORKER_ENDED: 'A worker thread ended by itself.',
      TENANTRY_THREAD_BLOCKED:
        'Its event loop did not turn for workers.blockLimit: an endless loop, or a synchronous call that takes too long.',
      TENANTRY_THREAD_MEMORY:
        'The process holds more than workers.maxResidentBytes, and this thread most of it. Look for what its actors keep.',
      TENANTRY_THREAD_ABANDONED:
        'Too many handlers never ended after their time was over. See that what they wait for is given ctx.signal.',
      TENANTRY_THREAD_START:
        'It had not loaded the actors after a minute. At the start of the daemon that ends it; later it is tried again.',
      TENANTRY_WORKERS_FAIL:
        'Threads ended or failed to start more than workers.maxRestarts times within workers.restartWindow, or were ended and have not. The daemon drains and ends.',
    },
  },
  {
    title: 'Inside the process',
    intro: 'These point to a bug, or to files that changed under a running daemon.',
    entries: {
      TENANTRY_BAD_OPTION: 'A part was given an option that makes no sense.',
      TENANTRY_STARTED_TWICE: 'A part was started twice.',
      TENANTRY_TOPOLOGY_DIFFERS:
        "A worker's actors are not the supervisor's: their files changed while tenantry ran. Start it again.",
    },
  },
  {
    title: 'Dead letters (tenantry dlq)',
    intro: '',
    entries: {
      TENANTRY_DEAD_LETTER_UNKNOWN: 'There is no dead letter with that number. `tenantry dlq list` shows them.',
      TENANTRY_DLQ_PARTLY: 'Some of them were discarded, then PostgreSQL could not go on. Run the command again.',
    },
  },
  {
    title: 'Positions (tenantry offsets)',
    intro: 'Nothing was done when one of these is said. [Positions](offsets.md) explains the commands.',
    entries: {
      TENANTRY_OFFSETS_PLACE: 'The group has not begun to read such a topic or partition. What there is is named.',
      TENANTRY_OFFSETS_RANGE: 'The position is outside the log, whose ends are named.',
      TENANTRY_OFFSETS_WAY:
        'A partition would go on with --rerun, or back with --skip, or nothing is known of what was done. The message says what to say instead.',
      TENANTRY_OFFSETS_RECREATED:
        'The topic was deleted and created again, and no daemon of the group has begun to read it yet. Start one.',
      TENANTRY_OFFSETS_NOT_SET: "Kafka's offset is one that tenantry writes itself: there is nothing to accept.",
      TENANTRY_OFFSETS_BUSY:
        'A commit has held the partitions for postgres.lockTimeout. Run it again; a frozen daemon or backend must end first.',
    },
  },
  {
    title: 'The checker (tenantry verify)',
    intro: '',
    entries: {
      TENANTRY_VERIFY_GROUP: 'The group has read nothing in this database, or there are several and none was named.',
      TENANTRY_VERIFY_PLACE:
        '--effects, --order or --chain names a table or column that is not there or cannot be read.',
      TENANTRY_VERIFY_UNREADABLE:
        'A partition cannot be read to its end. Check that the brokers are up and run it again.',
    },
  },
  {
    title: 'Circuit breakers (tenantry breakers)',
    intro: '',
    entries: {
      TENANTRY_BREAKER_GROUP: 'No daemon of that group has ever run with this database, so nobody would hear of it.',
      TENANTRY_BREAKER_NAME:
        'The group has no such actor, or the actor declares no such dependency, so the request would do nothing. The known ones are named.',
    },
  },
  {
    title: 'Local services (tenantry dev)',
    intro: '',
    entries: {
      TENANTRY_DEV_SERVICE: 'A server did not start. The end of its log is shown.',
      TENANTRY_DEV_FOLDER: 'The folder for the data of the servers cannot be made or written to. It is named.',
      TENANTRY_DEV_SETUP: 'Kafka or Redis could not be fetched. The message above it says why.',
      TENANTRY_DEV_POSTGRES_MISSING: "PostgreSQL's package is not installed for this platform.",
      TENANTRY_DEV_INITDB: 'A new database could not be made.',
      TENANTRY_DEV_KAFKA_FORMAT: 'A new data folder of a broker could not be made.',
      TENANTRY_DEV_KAFKA_DATA: 'Only some brokers have data. `tenantry dev down --wipe`, then up.',
      TENANTRY_DEV_BROKERS: 'The data are of another number of brokers. Use that number, or wipe first.',
      TENANTRY_DEV_NOT_STARTED: 'That service is not part of the cluster.',
      TENANTRY_DEV_NOT_RUNNING: 'Not all servers run, so there are no addresses. `tenantry dev up` starts them.',
      TENANTRY_DEV_NO_LOG: 'There is no log of that name.',
    },
  },
]

/** Every documented code. */
export const errorCodes: readonly string[] = groups.flatMap(({ entries }) => Object.keys(entries))

/** docs/errors.md. */
export function errorsPage(): string {
  const parts = [
    `# Errors

Every error that tenantry raises on purpose has a code that does not change, facts (names, numbers, positions; never
payloads or secrets) and a message that says what to do. The code is in the error itself, in the field \`code\` of log
lines, and in brackets at the end of what the command line says.
`,
  ]
  for (const { title, intro, entries } of groups) {
    parts.push(`## ${title}\n`)
    if (intro !== '') parts.push(`${intro}\n`)
    const rows = Object.entries(entries).map(([name, what]) => [code(name), exitOf(name), what])
    parts.push(`${markdownTable(['code', 'exit', 'what it means and what to do'], rows)}\n`)
  }
  return parts.join('\n')
}

function exitOf(name: string): string {
  return name === 'TENANTRY_BUG' ? '70' : String(exitCodeOf(new TenantryError(name, '')))
}
