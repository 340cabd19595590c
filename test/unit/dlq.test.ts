import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'
import { PassThrough } from 'node:stream'
import * as fc from 'fast-check'
import * as assert from 'uvu/assert'
import { confirmed } from '../../cli/confirm.ts'
import { changeOf } from '../../cli/dlq/changing.ts'
import { time } from '../../cli/dlq/flags.ts'
import { bytesForJson, indented } from '../../cli/dlq/shown.ts'
import { jsonSafe, visible } from '../../cli/output.ts'
import { test } from '../harness.ts'

const active = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u

test('whatever a text holds, what is shown of it has no character that does anything, and is one line', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.not(active.test(visible(text)))
    }),
  )
  assert.is(visible('\u001b[31m\u202e\u{e0001}\n'), '\\u{1b}[31m\\u{202e}\\u{e0001}\\u{a}')
  assert.is(visible('Zoë 日本 {"a":1}'), 'Zoë 日本 {"a":1}')
})

test('JSON that is safe to show is the same JSON', () => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
      const text = jsonSafe(JSON.stringify(value, null, 2))
      assert.not(active.test(text.replaceAll('\n', '')))
      assert.equal(JSON.parse(text), JSON.parse(JSON.stringify(value)))
    }),
  )
  assert.is(jsonSafe('"\u009b\u{e0001}"'), '"\\u009b\\udb40\\udc01"')
})

test('JSON is set in, and stays what it was', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      assert.is(indented(JSON.stringify(value)), JSON.stringify(value, null, 2))
      assert.is(indented(JSON.stringify(value, null, 4)), JSON.stringify(value, null, 2))
    }),
  )
  assert.is(
    indented('{"n":1.0e400,"n":12345678901234567890,"s":"a\\"b:,{}[]\\\\"}'),
    '{\n  "n": 1.0e400,\n  "n": 12345678901234567890,\n  "s": "a\\"b:,{}[]\\\\"\n}',
  )
  const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
  assert.is(indented(deep), deep, 'not mostly spaces')
})

test('bytes in JSON are text where they are UTF-8, else base64', () => {
  assert.equal(bytesForJson(null), null)
  assert.equal(bytesForJson(Buffer.from('\ufeffa\0')), { text: '\ufeffa\0' })
  assert.equal(bytesForJson(Buffer.from([0xff])), { base64: '/w==' })
})

test('only a yes is a yes, and the end of the input is a no', async () => {
  const answer = async (text: string) => {
    const [input, output] = [new PassThrough(), new PassThrough()]
    output.resume()
    const asked = confirmed('Discard 2 dead letters?', input, output)
    input.end(text)
    return asked
  }
  for (const yes of ['y\n', 'YES\n', ' yes \n']) assert.is(await answer(yes), true, yes)
  for (const no of ['', '\n', 'n\n', 'yesterday\n', 'no\ny\n']) assert.is(await answer(no), false, no)
})

test('a time is written as one, or as how long ago', () => {
  assert.is(time('2026-11-01T00:00:00Z').toISOString(), '2026-11-01T00:00:00.000Z')
  assert.is(time('2026-11-01T02:00:00.5+02:00').toISOString(), '2026-11-01T00:00:00.500Z')
  assert.is(time('2026-11-01').toISOString(), '2026-11-01T00:00:00.000Z')
  for (const text of ['2h', '2h ago']) {
    const ago = Date.now() - time(text).getTime()
    assert.ok(ago >= 7_200_000 && ago < 7_260_000, `${text}: ${ago}`)
  }
  for (const text of [
    '',
    '2',
    'yesterday',
    '2026-13-01',
    '2026-02-30',
    '2026-11-01T00:00:00',
    '11/01/2026',
    '2h later',
  ])
    assert.throws(() => time(text), /A time is wanted/)
})

test('who has no name on this machine, as in a container, is written down as unknown', () => {
  const { userInfo } = os
  const none = () => {
    throw new Error('uv_os_get_passwd returned ENOENT')
  }
  Object.assign(os, { userInfo: none })
  syncBuiltinESMExports()
  try {
    const flags = { reason: 'mended', yes: true }
    assert.is(changeOf({ name: 'replay', done: 'replayed' }, [1], flags).givenName, 'unknown')
  } finally {
    Object.assign(os, { userInfo })
    syncBuiltinESMExports()
  }
})
