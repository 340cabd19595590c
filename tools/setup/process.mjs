// Who a process is: its pid alone says nothing once the number has been used again, so the start time goes with it.
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'

/** The environment variable that marks every process of one run of tools/up.mjs. */
export const RUN_MARK = 'TENANTRY_RUN_ID'

const linux = process.platform === 'linux'

/** `{ pid, start }` of a living process; undefined when it is gone or only a zombie is left of it. */
export function identify(pid) {
  const found = linux ? fromProc(pid) : fromPs(pid)
  return found && { pid, start: found.start }
}

/** Whether the very process that was recorded is alive. */
export function isAlive(record) {
  const now = identify(record.pid)
  return now !== undefined && now.start === record.start
}

/** The parent of a process, or undefined. */
export function parentOf(pid) {
  const found = linux ? fromProc(pid) : fromPs(pid)
  return found && found.parent
}

/** The short name of a process (`sh`, `node`), or undefined. */
export function nameOf(pid) {
  const found = linux ? fromProc(pid) : fromPs(pid)
  return found && found.name
}

/** Signals a recorded process if it is still the same one; says whether it was. */
export function signal(record, name) {
  if (!isAlive(record)) return false
  try {
    process.kill(record.pid, name)
    return true
  } catch {
    return false
  }
}

/** Ends recorded processes: `first` now, SIGKILL after `graceMs`. Resolves when none is left. */
export async function endAll(records, first = 'SIGTERM', graceMs = 10000) {
  for (const record of records) signal(record, first)
  const deadline = Date.now() + graceMs
  let forced = false
  for (;;) {
    const left = records.filter(isAlive)
    if (left.length === 0) return
    if (!forced && Date.now() >= deadline) {
      forced = true
      for (const record of left) signal(record, 'SIGKILL')
    }
    if (Date.now() >= deadline + 10000) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** The living processes that a process has forked itself. Linux only. */
export function childrenOf(pid) {
  return linux ? everyProcess().filter((record) => parentOf(record.pid) === pid) : []
}

function everyProcess() {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger)
  return pids.map(identify).filter((record) => record !== undefined)
}

/** A new value for the mark `name`: below our own one, when we are marked, so that who started us finds ours as well. */
export function newMark(name) {
  const own = process.env[name]
  return `${own ? `${own}.` : ''}${randomBytes(6).toString('hex')}`
}

/** The living processes, but this one, whose environment holds the mark `value`, or one below. Only on Linux. */
export function withEnvironment(name, value) {
  if (!linux) return []
  const wanted = `${name}=${value}`
  return everyProcess().filter(({ pid }) => {
    if (pid === process.pid) return false
    return environmentOf(pid).some((entry) => entry === wanted || entry.startsWith(`${wanted}.`))
  })
}

/** The `NAME=VALUE` of a process; none of another user's, or of one that has gone. Linux only. */
export function environmentOf(pid) {
  // A process that is just being executed shows nothing until its new memory is laid out: nine in ten of those that Bun
  // has started are met like that. It is a moment; the limit is for what only looks like one.
  const deadline = Date.now() + 1000
  try {
    for (;;) {
      const starting = startsUp(pid)
      const text = readFileSync(`/proc/${pid}/environ`, 'latin1')
      if (text !== '' || !starting || Date.now() > deadline) return text.split('\0')
    }
  } catch {
    return []
  }
}

/** Whether a process's environment has no place yet: see proc_pid_stat(5), `env_end` and `flags`. */
function startsUp(pid) {
  const fields = statOf(pid).fields
  const kernelThread = (Number(fields[6]) & 0x200000) !== 0
  return fields[48] === '0' && !kernelThread && !isDead(fields)
}

function fromProc(pid) {
  try {
    const { name, fields } = statOf(pid)
    if (isDead(fields)) return undefined
    return { name, parent: Number(fields[1]), start: `${bootId()}/${fields[19]}` }
  } catch {
    return undefined
  }
}

/** The name, and what follows it, from field 3 on. */
function statOf(pid) {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const open = text.indexOf('(')
  const close = text.lastIndexOf(')') // a process may call itself "a) b"
  return { name: text.slice(open + 1, close), fields: text.slice(close + 2).split(' ') }
}

/** Whether only a zombie is left, which its parent has not reaped yet. */
function isDead(fields) {
  return fields[0] === 'Z' || fields[0] === 'X'
}

let boot
function bootId() {
  if (boot === undefined) {
    try {
      boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim().slice(0, 8)
    } catch {
      boot = 'boot'
    }
  }
  return boot
}

function fromPs(pid) {
  try {
    const line = execFileSync('ps', ['-o', 'stat=,ppid=,lstart=,ucomm=', '-p', String(pid)], {
      encoding: 'utf8',
    }).trim()
    const match = /^(\S+)\s+(\d+)\s+(\S+\s+\S+\s+\S+\s+\S+\s+\S+)\s+(.*)$/.exec(line)
    if (!match || match[1].startsWith('Z')) return undefined
    return { name: match[4], parent: Number(match[2]), start: match[3] }
  } catch {
    return undefined
  }
}
