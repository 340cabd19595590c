import * as assert from 'uvu/assert'
import { z } from 'zod'
import type { Clock } from '../../core/clock.ts'
import { PinoLog, type PinoLogOptions } from '../../core/pino-log.ts'
import { redactor } from '../../core/redact.ts'
import { test } from '../harness.ts'

/** A clock that stands still until it is turned. */
class HandClock implements Clock {
  time = 0
  readonly #timers: { at: number; fn: () => void }[] = []

  now() {
    return 1_795_000_000_000 + this.time
  }

  monotonic() {
    return this.time
  }

  after(ms: number, fn: () => void) {
    const timer = { at: this.time + ms, fn }
    this.#timers.push(timer)
    return { cancel: () => void this.#timers.splice(this.#timers.indexOf(timer), 1) }
  }

  turn(ms: number) {
    this.time += ms
    for (const timer of this.#timers.filter(({ at }) => at <= this.time)) {
      this.#timers.splice(this.#timers.indexOf(timer), 1)
      timer.fn()
    }
  }
}

function logged(options: Partial<PinoLogOptions> = {}) {
  const clock = new HandClock()
  const texts: string[] = []
  const log = new PinoLog({
    clock,
    level: 'info',
    repeatLimit: 2,
    repeatWindowMs: 1_000,
    redact: redactor(['hunter2-secret']),
    destination: { write: (text) => void texts.push(text) },
    ...options,
  })
  const lines = () => texts.map((text) => z.record(z.string(), z.unknown()).parse(JSON.parse(text)))
  return { clock, log, texts, lines }
}

test('a line is one JSON object with time, level, event, fields and the sentence', () => {
  const { log, texts, lines } = logged({ base: { group: 'actuator' } })
  log.warn('partition.fenced', { topic: 't', partition: 3, ahead: ['1', '2'] }, 'Another daemon has taken it over.')
  assert.is(texts.length, 1)
  assert.ok(texts[0]?.endsWith('\n'))
  assert.equal(lines()[0], {
    level: 'warn',
    time: new Date(1_795_000_000_000).toISOString(),
    group: 'actuator',
    event: 'partition.fenced',
    topic: 't',
    partition: 3,
    ahead: ['1', '2'],
    msg: 'Another daemon has taken it over.',
  })
})

test('lines below the level are not written, and silent writes none', () => {
  const { log, texts } = logged()
  log.debug('x', {}, 'not seen')
  assert.is(texts.length, 0)
  const silent = logged({ level: 'silent' })
  silent.log.error('x', {}, 'not seen')
  assert.is(silent.texts.length, 0)
})

test('secrets do not reach a line, wherever they stand', () => {
  const { log, texts } = logged()
  log.error(
    'postgres.away',
    { url: 'postgres://me:pa@ss/w:rd@db/x', reasons: ['was hunter2-secret'], saslPassword: 'abc', token: 5 },
    'No answer from postgres://me:other@db as hunter2-secret.',
  )
  const all = texts.join('')
  for (const secret of ['pa@ss', 'hunter2', 'other', 'abc']) assert.not(all.includes(secret), secret)
  assert.ok(all.includes('postgres://me:********@db/x'))
  assert.ok(all.includes('"token":5'), 'a number under such a name is a fact')
})

test('an event that comes again and again is written a few times a window and then counted', () => {
  const { clock, log, lines } = logged()
  for (let i = 0; i < 50; i++) log.warn('kafka.away', { attempt: i }, 'Kafka does not answer.')
  log.warn('other', {}, 'Another event is not held back.')
  assert.equal(
    lines().map(({ event }) => event),
    ['kafka.away', 'kafka.away', 'other'],
  )
  clock.turn(1_000)
  assert.equal(
    lines()
      .slice(3)
      .map(({ event, of, count, level }) => ({ event, of, count, level })),
    [{ event: 'log.repeated', of: 'kafka.away', count: 48, level: 'warn' }],
  )
  log.warn('kafka.away', {}, 'A new window.')
  assert.is(lines().length, 5)
})

test('what was counted is said before the process ends', () => {
  const { log, lines } = logged()
  for (let i = 0; i < 5; i++) log.info('e', {}, 's')
  log.flush()
  assert.is(lines().at(-1)?.['count'], 3)
  log.flush()
  assert.is(lines().length, 3)
})
