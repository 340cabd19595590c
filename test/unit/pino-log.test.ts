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
  const { log, texts, lines } = logged()
  log.warn('partition.fenced', { topic: 't', partition: 3, ahead: ['1', '2'] }, 'Another daemon has taken it over.')
  assert.is(texts.length, 1)
  assert.ok(texts[0]?.endsWith('\n'))
  assert.equal(lines()[0], {
    level: 'warn',
    time: new Date(1_795_000_000_000).toISOString(),
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

/** A line as an actor writes it that no type checker has seen. */
function write(log: PinoLog, ...line: readonly unknown[]): void {
  Reflect.apply(log.error, log, line)
}

test('a line of any shape is written: an actor’s types are not checked when it runs', () => {
  const { log, lines } = logged({ repeatLimit: 100 })
  const cycle: Record<string, unknown> = {}
  cycle['self'] = cycle
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const fields: Record<string, unknown> = {
    object: { id: 1, of: [2, { three: 10n }] },
    error: new Error('no answer from postgres://me:other@db'),
    odd: Object.assign(new Error(), { message: { code: 1 } }),
    numbers: [1, 'two', null, new Error('three')],
    date: new Date(0),
    bigint: 10n,
    symbol: Symbol('s'),
    fn: write,
    nothing: undefined,
    cycle,
    revoked: revoked.proxy,
    map: new Map(),
  }
  write(log, 'all', fields, 'A sentence.')
  write(log, 'one', 'text', { not: 'a sentence' })
  write(log, 'two')
  write(log, Symbol('event'), revoked.proxy, 5n)
  write(log)
  assert.is(lines().length, 5)
  const [all, one, two] = lines()
  assert.equal(
    { ...all, time: '' },
    {
      level: 'error',
      time: '',
      event: 'all',
      object: '{"id":1,"of":[2,{"three":"10"}]}',
      error: 'no answer from postgres://me:********@db',
      odd: '[object Object]',
      numbers: ['1', 'two', 'null', 'three'],
      date: '1970-01-01T00:00:00.000Z',
      bigint: '10',
      symbol: 'Symbol(s)',
      fn: all?.['fn'],
      cycle: 'a value that cannot be printed',
      revoked: 'a value that cannot be printed',
      map: '{}',
      msg: 'A sentence.',
    },
  )
  assert.is(one?.['fields'], 'text')
  assert.is(one?.['msg'], '{"not":"a sentence"}')
  assert.is(two?.['msg'], '')
})

test('a field that is an object is bounded, and has no secrets however deep', () => {
  const { log, texts } = logged({ redact: redactor(['hunter2-secret', 'quo"te']) })
  write(log, 'deep', {
    a: { b: { password: 'abc', url: 'x://u:pw@h', was: ['hunter2-secret', 'quo"te'] } },
    token: { c: 'abc' },
  })
  write(log, 'deep', {
    large: Array.from({ length: 100_000 }, () => ({ a: 1 })),
    text: { long: 'x'.repeat(1_000_000) },
  })
  for (const secret of ['abc', 'pw@', 'hunter2', 'quo']) assert.not(texts.join('').includes(secret), secret)
  assert.ok((texts[1] ?? '').length < 100_000)
})
