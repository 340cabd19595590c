import { spawn } from 'node:child_process'
import { test } from '../harness.ts'

test('leaves a process behind', () => {
  spawn('sleep', ['60'], { detached: true, stdio: 'ignore' }).unref()
})
