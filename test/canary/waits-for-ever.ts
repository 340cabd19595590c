import { test } from '../harness.ts'

test('waits for what never comes', () => new Promise(() => {}), { timeoutMs: 200 })
