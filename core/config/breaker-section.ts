import { z } from 'zod'
import { count, duration } from './fields.ts'

export const breaker = z
  .strictObject({
    failures: count({
      doc: 'Failures in a row after which a dependency is not called any more for a tenant.',
      default: 5,
      min: 1,
      max: 1_000,
    }),
    openFor: duration({ doc: 'How long, before one record is tried.', default: '60s', min: '1s', max: '1d' }),
    successes: count({
      doc: 'So many tried records in a row must succeed before the others go on.',
      default: 2,
      min: 1,
      max: 1_000,
    }),
    probeTimeout: duration({
      doc: 'A record that is tried must be handled within this, or its run is ended and the dependency is away still. Longer than a handler that calls may take.',
      default: '60s',
      min: '1s',
      max: '1h',
    }),
    maxWait: duration({
      doc: 'A record that has waited so long since its first failure becomes a dead letter.',
      default: '24h',
      min: '1s',
      max: '3650d',
    }),
    sharedTenants: count({
      doc: 'When a dependency fails this many tenants of an actor, and the share below, they wait for one breaker together.',
      default: 3,
      min: 2,
      max: 1_000_000,
    }),
    sharedRatio: z
      .number({ error: 'expected a number from 0 to 1' })
      .min(0, { error: 'expected a number from 0 to 1' })
      .max(1, { error: 'expected a number from 0 to 1' })
      .default(0.5)
      .meta({ description: 'More than this share of the tenants that called it lately. 1: never together.' }),
    sharedWindow: duration({ doc: 'How long ago is lately.', default: '60s', min: '1s', max: '1d' }),
    releasePerSecond: count({
      doc: 'Tenants that waited together go on ten at first, twice as many each second, and so many a second at most.',
      default: 1_000,
      min: 1,
      max: 1_000_000,
    }),
  })
  .transform(({ openFor, probeTimeout, maxWait, sharedWindow, ...rest }) => ({
    ...rest,
    openMs: openFor,
    probeTimeoutMs: probeTimeout,
    maxWaitMs: maxWait,
    sharedWindowMs: sharedWindow,
  }))
  .prefault({})
  .meta({ description: 'Circuit breakers of what actors call (docs/breakers.md).' })
