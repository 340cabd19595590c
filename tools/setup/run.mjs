// Runs a program of set-up with its output in the log. Never the synchronous way: signals must get through.
import { spawn } from 'node:child_process'
import { appendFileSync, closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { setupLog } from './paths.mjs'

/** Runs to the end. `{ code, stdout }`: code 127 when the program does not exist; stdout only with `capture`. */
export function run(command, args, { cwd, env = process.env, capture = false, input } = {}) {
  mkdirSync(dirname(setupLog), { recursive: true })
  appendFileSync(setupLog, `\n$ ${[command, ...args].join(' ')}\n`)
  const log = openSync(setupLog, 'a')
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      env,
      stdio: [input === undefined ? 'ignore' : 'pipe', capture ? 'pipe' : log, log],
    })
    let stdout = ''
    let ended = false
    const end = (code) => {
      if (ended) return
      ended = true
      closeSync(log)
      resolve({ code, stdout })
    }
    child.once('error', (error) => {
      appendFileSync(setupLog, `${error.message}\n`)
      end(127)
    })
    if (capture) child.stdout.on('data', (chunk) => (stdout += chunk))
    if (input !== undefined) child.stdin.on('error', () => {}).end(input)
    child.once('close', (code) => end(code === null ? 1 : code))
  })
}
