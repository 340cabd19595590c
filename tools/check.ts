import { fix, steps } from './check/steps.ts'

// npm run check [-- --fix]: types, lint, layers, dead code, words and format; one line a step, and what is wrong.

if (process.argv.includes('--fix')) process.stdout.write(await fix())
for (const step of steps) {
  const started = performance.now()
  const wrong = await step.run()
  process.stdout.write(
    `${wrong === '' ? 'ok  ' : 'FAIL'}  ${step.name}  ${((performance.now() - started) / 1000).toFixed(1)} s\n`,
  )
  if (wrong === '') continue
  process.stdout.write(`${wrong}\n`)
  process.exitCode = 1
}
