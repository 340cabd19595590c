// Runs the program that set-up was for, and answers for it: signals go through, and nothing of it stays behind.
import { spawn } from 'node:child_process'
import { endAll, identify, isAlive, nameOf, parentOf, RUN_MARK, withEnvironment } from './process.mjs'

const GRACE_MS = 20000

/** Runs to the end; resolves with the exit status to leave with. */
export function runChild(program, args, env) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: 'inherit', env })
    const record = child.pid === undefined ? undefined : identify(child.pid)
    let forced
    const pass = (name) => () => {
      child.kill(name)
    }
    // A terminal sends Ctrl-C and its hang-up to the whole foreground group: passed on, the child would see it twice.
    if (!process.stdin.isTTY) {
      process.on('SIGINT', pass('SIGINT'))
      process.on('SIGHUP', pass('SIGHUP'))
    } else {
      process.on('SIGINT', () => {})
      process.on('SIGHUP', () => {})
    }
    process.on('SIGTERM', pass('SIGTERM'))
    const stopWatching = watchAncestors(() => {
      child.kill('SIGTERM')
      forced = setTimeout(() => child.kill('SIGKILL'), GRACE_MS)
    })
    const end = async (status) => {
      stopWatching()
      clearTimeout(forced)
      await sweep()
      resolve(status)
    }
    child.once('error', (error) => {
      process.stderr.write(`${program}: ${error.message}\n`)
      if (!record) void end(127)
    })
    child.once('exit', (code, name) => void end(code === null ? 128 + signalNumber(name) : code))
  })
}

/** Ends whatever this run has started and not ended, and which was not meant to stay (`dev up` takes the mark off). */
export async function sweep(graceMs = 5000) {
  const run = process.env[RUN_MARK]
  if (!run) return
  await endAll(withEnvironment(RUN_MARK, run), 'SIGTERM', graceMs)
}

/**
 * Calls `gone` once npm, or the shell that npm put between, has died: killed without a terminal they leave their child
 * running, and it would see no signal at all. Only under npm: whoever starts us otherwise may well mean to leave us.
 */
export function watchAncestors(gone) {
  if (!process.env.npm_lifecycle_event) return () => {}
  const ancestors = []
  let pid = process.ppid
  while (pid > 1 && ancestors.length < 2) {
    const record = identify(pid)
    if (!record) break
    ancestors.push(record)
    if (!/^(ba|da|z|a)?sh$/.test(nameOf(pid) || '')) break
    pid = parentOf(pid)
  }
  const timer = setInterval(() => {
    if (ancestors.every(isAlive)) return
    clearInterval(timer)
    gone()
  }, 300)
  return () => clearInterval(timer)
}

function signalNumber(name) {
  return { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGTERM: 15 }[name] || 1
}
