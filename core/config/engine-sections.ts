import { z } from 'zod'
import { defaultLimits, longestId } from '../limits.ts'
import { formatSize } from './units.ts'
import {
  choice,
  count,
  duration,
  durationBetween,
  flag,
  optionalText,
  size,
  sizeBetween,
  text,
  wholeNumber,
} from './fields.ts'

/** The sections that concern the process itself, PostgreSQL and Redis. */

export const postgres = z
  .strictObject({
    url: text({
      doc: 'Address of the database, with user, password and `sslmode`. Required.',
      default: '',
      secret: 'url',
    }),
    migrateUrl: optionalText({
      doc: "The same database as the owner of the tables, for `tenantry migrate`; `url` where it is not given. The daemon's own login then needs no right to create anything.",
      secret: 'url',
    }),
    applicationName: text({ doc: 'Shown in pg_stat_activity.', default: 'tenantry' }),
    connectTimeout: duration({ doc: 'How long to wait for a connection.', default: '10s', min: '100ms', max: '5m' }),
    statementTimeout: duration({
      doc: "Bound of one statement of an actor's own (`ctx.sql`).",
      default: '5s',
      min: '10ms',
      max: '10m',
    }),
    lockTimeout: duration({
      doc: "How long a statement of an actor's own may wait for a lock.",
      default: '2s',
      min: '10ms',
      max: '10m',
    }),
    transactionTimeout: duration({
      doc: 'PostgreSQL itself ends a commit that takes longer, so that a frozen daemon holds nobody up.',
      default: '30s',
      min: '1s',
      max: '30m',
    }),
  })
  .transform(({ connectTimeout, statementTimeout, lockTimeout, transactionTimeout, ...rest }) => ({
    ...rest,
    connectTimeoutMs: connectTimeout,
    statementTimeoutMs: statementTimeout,
    lockTimeoutMs: lockTimeout,
    transactionTimeoutMs: transactionTimeout,
  }))
  .prefault({})
  .meta({ description: 'Where effects, keys and progress are kept.' })

export const redis = z
  .strictObject({
    url: optionalText({
      doc: 'Address of Redis or Valkey, with its password. None: limits are kept by each daemon alone.',
      secret: 'url',
    }),
    timeout: duration({ doc: 'An answer that takes longer counts as none.', default: '50ms', min: '1ms', max: '10s' }),
  })
  .transform(({ timeout, ...rest }) => ({ ...rest, timeoutMs: timeout }))
  .prefault({})
  .meta({ description: 'For rate limits shared by all daemons, which are still to come: nothing uses it yet.' })

export const workers = z
  .strictObject({
    count: z
      .union([z.literal('auto'), wholeNumber(1, 1_024, 'auto, or ')], {
        error: 'expected auto, or a whole number from 1 to 1024',
      })
      .default('auto')
      .meta({
        description:
          "Threads that run actors. `auto`: the cores that this process may use (affinity and the container's limit), less one, at least one.",
      }),
    creditRecords: count({
      doc: 'Records that may be at one worker, running or waiting; one tenant of one partition may have an eighth of them there. Those of tenants that hang do not count, up to as many again.',
      default: 4_000,
      min: 1,
      max: 1_000_000,
    }),
    creditBytes: size({ doc: 'Their bytes.', default: '8MiB', min: '64KiB', max: '1GiB' }),
    tenantWeights: z
      .record(
        z.string().min(1, { error: 'expected the name of a tenant' }),
        z
          .number({ error: 'expected a number from 0.1 to 10' })
          .min(0.1, { error: 'expected a number from 0.1 to 10' })
          .max(10, { error: 'expected a number from 0.1 to 10' })
          .meta({
            description:
              "The tenant's share of a worker's time where others want it, too; 1 for those that are not named. What others leave, each may use.",
          }),
      )
      .default({})
      .meta({
        description: "Tenants' shares of a worker's time, by name.",
      }),
    maxHeapBytes: size({
      doc: 'Heap of one worker thread (Node only; buffers do not count).',
      default: '512MiB',
      min: '32MiB',
      max: '64GiB',
    }),
    handlerTimeout: duration({
      doc: "How long a handler may take that waits for promises, where its actor's `timeoutMs` does not say: then its signal aborts and the message has failed.",
      default: '30s',
      min: '10ms',
      max: '1d',
    }),
    blockLimit: duration({
      doc: "A thread whose event loop does not turn for so long (an endless loop, a synchronous call) is replaced, and the message that is to blame becomes a dead letter if it does so again by itself. It bounds how long one tenant's code can hold up others.",
      default: '1s',
      min: '50ms',
      max: '10m',
    }),
    maxResidentBytes: z
      .union([z.literal('auto'), sizeBetween('64MiB', '16384GiB')], {
        error: 'expected auto, or a size such as "2GiB"',
      })
      .prefault('auto')
      .meta({
        description:
          "Memory that the process may hold, buffers included. Past it, the worker thread that holds most is replaced. `auto`: nine tenths of what this process may use (the container's limit, or the machine's memory).",
        unit: 'size',
      }),
    maxRestarts: count({
      doc: 'Threads that may end or fail to start within `restartWindow`; one more, and the daemon drains and ends. The extra thread, which runs by themselves the messages that may have ended another, is not counted.',
      default: 20,
      min: 0,
      max: 100_000,
    }),
    restartWindow: duration({
      doc: 'The time over which they are counted.',
      default: '60s',
      min: '1s',
      max: '1d',
    }),
    drainDeadline: duration({
      doc: 'After SIGTERM, how long to wait for what is running to end and be committed. Give the container 15 seconds more.',
      default: '25s',
      min: '0ms',
      max: '1h',
    }),
  })
  .transform(({ handlerTimeout, blockLimit, restartWindow, drainDeadline, ...rest }) => ({
    ...rest,
    handlerTimeoutMs: handlerTimeout,
    blockLimitMs: blockLimit,
    restartWindowMs: restartWindow,
    drainDeadlineMs: drainDeadline,
  }))
  .prefault({})
  .meta({ description: 'The threads that run actors.' })

export const commit = z
  .strictObject({
    lanes: z
      .union([z.literal('auto'), wholeNumber(1, 64, 'auto, or ')], {
        error: 'expected auto, or a whole number from 1 to 64',
      })
      .default('auto')
      .meta({
        description:
          'Connections that commit, each for its own partitions. `auto`: one for every two cores that this process may use, at least one and at most four.',
      }),
    maxRecords: count({ doc: 'Records in one group commit.', default: 8_000, min: 1, max: 100_000 }),
    maxBytes: size({ doc: 'Bytes of one group commit.', default: '8MiB', min: '64KiB', max: '256MiB' }),
    answerDeadline: duration({
      doc: 'A commit without an answer for so long counts as unknown: its backend is ended, and PostgreSQL asked what became of it.',
      default: '15s',
      min: '1s',
      max: '30m',
    }),
    backoffMin: duration({ doc: 'First pause while PostgreSQL is away.', default: '100ms', min: '1ms', max: '1m' }),
    backoffMax: duration({ doc: 'Longest pause while PostgreSQL is away.', default: '5s', min: '1ms', max: '10m' }),
  })
  .transform(({ answerDeadline, backoffMin, backoffMax, ...rest }) => ({
    ...rest,
    answerDeadlineMs: answerDeadline,
    backoffMinMs: backoffMin,
    backoffMaxMs: backoffMax,
  }))
  .prefault({})
  .meta({ description: 'Group commits. A lane commits what is there whenever it is free, up to this size.' })

export const retry = z
  .strictObject({
    delays: z
      .array(durationBetween('0ms', '1d'), { error: 'expected a list of durations such as ["1s", "2s", "5s"]' })
      .max(100, { error: 'expected at most 100 pauses' })
      .prefault(['1s', '2s', '5s'])
      .meta({
        description:
          'Pauses before a handler that failed is tried again; when they are used up, the record is a dead letter. An actor may have its own (`retry` in its definition).',
      }),
    jitter: z
      .number({ error: 'expected a number from 0 to 1' })
      .min(0, { error: 'expected a number from 0 to 1' })
      .max(1, { error: 'expected a number from 0 to 1' })
      .default(0.2)
      .meta({ description: 'Each pause is longer or shorter by up to this share of it.' }),
  })
  .transform(({ delays, ...rest }) => ({ ...rest, delaysMs: delays }))
  .prefault({})
  .meta({ description: 'Repeating what failed. Only the failing tenant waits.' })

export const parking = z
  .strictObject({
    maxPerTenant: count({
      doc: 'Records of one tenant of a partition that may be parked in PostgreSQL because the tenant cannot take them; past it, that partition pauses.',
      default: 1_000_000,
      min: 0,
      max: 1_000_000_000,
    }),
    maxRecords: count({
      doc: 'The same for all partitions of this daemon together.',
      default: 10_000_000,
      min: 0,
      max: 10_000_000_000,
    }),
  })
  .prefault({})
  .meta({ description: 'Space for the records of tenants that are stuck, or send faster than they are served.' })

export const backpressure = z
  .strictObject({
    budgetBytes: size({
      doc: 'What may be queued and in flight in the daemon. Past it, partitions pause.',
      default: '128MiB',
      min: '1MiB',
      max: '64GiB',
    }),
    budgetRecords: z
      .union([z.literal('auto'), wholeNumber(1, 100_000_000, 'auto, or ')], {
        error: 'expected auto, or a whole number from 1 to 100000000',
      })
      .default('auto')
      .meta({ description: 'The same in records. `auto`: two and a half full commits for each lane.' }),
    mailboxRecords: z
      .union([z.literal('auto'), wholeNumber(1, 10_000_000, 'auto, or ')], {
        error: 'expected auto, or a whole number from 1 to 10000000',
      })
      .default('auto')
      .meta({
        description:
          'What may be queued for one tenant of one partition; past it, that partition pauses. `auto`: an eighth of the budget, so that a tenant that is stuck leaves room for the others.',
      }),
    outboxRows: count({
      doc: 'Messages of a group committed and not yet published. Past it, that group takes no more records, and more stay in the table until there is room.',
      default: 100_000,
      min: 1,
      max: 100_000_000,
    }),
  })
  .prefault({})
  .meta({ description: 'Bounds of memory.' })

export const http = z
  .strictObject({
    enabled: flag({ doc: 'Serve /health/live, /health/ready, /metrics and /stuck.', default: true }),
    host: text({
      doc: 'Address to listen at. `0.0.0.0` for probes from outside; /stuck names tenants.',
      default: '127.0.0.1',
    }),
    port: wholeNumber(0, 65_535)
      .default(9464)
      .meta({ description: 'Port to listen at; 0 takes a free one and logs it.' }),
    allowedHosts: z.array(z.string().min(1), { error: 'expected a list of host names' }).default([]).meta({
      description:
        'Names that a request may give as its Host, besides localhost and IP addresses; `*` allows all. Others are refused, as a page in a browser could otherwise reach this port.',
    }),
  })
  .prefault({})
  .meta({ description: 'Health and metrics.' })

export const log = z
  .strictObject({
    level: choice(['debug', 'info', 'warn', 'error', 'silent'], {
      doc: 'The least severe lines to write.',
      default: 'info',
    }),
    repeatLimit: count({
      doc: 'Lines of one event within `repeatWindow`; further ones are counted and summed up in one line.',
      default: 10,
      min: 1,
      max: 1_000_000,
    }),
    repeatWindow: duration({
      doc: 'The time over which lines of one event are counted.',
      default: '10s',
      min: '100ms',
      max: '1h',
    }),
  })
  .transform(({ repeatWindow, ...rest }) => ({ ...rest, repeatWindowMs: repeatWindow }))
  .prefault({})
  .meta({ description: 'JSON lines on standard output.' })

export const actors = z
  .strictObject({
    folder: text({
      doc: 'Where the actors are: every .ts, .mts, .js and .mjs file in it, relative to the configuration file.',
      default: './actors',
    }),
  })
  .prefault({})
  .meta({ description: 'What to run.' })

export const retention = z
  .strictObject({
    keys: duration({
      doc: 'How long the key of a message is kept: a copy sent later is a new message.',
      default: '31d',
      min: '1d',
      max: '3650d',
    }),
    progress: duration({
      doc: 'How long old rows of partition_progress are kept: each commit writes one for each of its partitions, and vw_message_throughput looks back so far. The last of a partition is never deleted.',
      default: '15m',
      min: '10m',
      max: '3650d',
    }),
    traceability: duration({
      doc: 'How long rows of message_traceability are kept.',
      default: '30d',
      min: '1h',
      max: '3650d',
    }),
    offsetsLog: duration({
      doc: 'How long rows of consumer_offsets_log are kept.',
      default: '7d',
      min: '10m',
      max: '3650d',
    }),
  })
  .transform(({ keys, progress, traceability: trace, offsetsLog }) => ({
    keysMs: keys,
    progressMs: progress,
    traceabilityMs: trace,
    offsetsLogMs: offsetsLog,
  }))
  .prefault({})
  .meta({ description: 'How long rows in PostgreSQL are kept.' })

export const traceability = z
  .strictObject({
    mode: choice(['all', 'failures', 'sampled', 'off'], {
      doc: 'Which records leave a row in message_traceability.',
      default: 'failures',
    }),
    sampleRate: z
      .number({ error: 'expected a number from 0 to 1' })
      .min(0, { error: 'expected a number from 0 to 1' })
      .max(1, { error: 'expected a number from 0 to 1' })
      .default(0.01)
      .meta({
        description: 'With `sampled`: the share of messages, chosen by message id. Failures are always among them.',
      }),
  })
  .prefault({})
  .meta({ description: 'A trace of what happened to each message.' })

const limit = (doc: string, value: number, max: string) => size({ doc, default: formatSize(value), min: '1KiB', max })

export const limits = z
  .strictObject({
    maxPayloadBytes: limit("A record's value.", defaultLimits.maxPayloadBytes, '256MiB'),
    maxDepth: count({ doc: 'Nesting of objects and arrays.', default: defaultLimits.maxDepth, min: 4, max: 1_000 }),
    maxIdLength: count({
      doc: 'Characters of message_id, tenant_id, type and trace_id.',
      default: defaultLimits.maxIdLength,
      min: 36,
      max: longestId,
    }),
    maxHeaders: count({ doc: 'Headers of a record.', default: defaultLimits.maxHeaders, min: 1, max: 10_000 }),
    maxEffects: count({ doc: 'Effects of one message.', default: defaultLimits.maxEffects, min: 1, max: 100_000 }),
    maxEffectBytes: limit('All effects of one message, encoded.', defaultLimits.maxEffectBytes, '128MiB'),
    maxStateBytes: limit("An actor's state for one tenant, as JSON.", defaultLimits.maxStateBytes, '64MiB'),
  })
  .prefault({})
  .meta({ description: 'What a message may be. Past a limit it becomes a dead letter that names the limit.' })
