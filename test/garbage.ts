import process from 'node:process'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as assert from 'uvu/assert'
import { test } from './harness.ts'

/** A test that collects garbage. Bun cannot be told to from here. */
export const collecting = process.versions['bun'] === undefined ? test : test.skip

/** How all is collected that nobody holds. What the turn has made a WeakRef of is held until it ends. */
export function collector(): () => void {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  assert.ok(typeof collect === 'function')
  return () => void Reflect.apply(collect, undefined, [])
}
