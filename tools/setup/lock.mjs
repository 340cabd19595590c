// One lock for two runs at once. A lock file appears whole (by link) and names its owner, so a dead owner's is broken.
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { identify, isAlive } from './process.mjs'

/** Waits for the lock at `path`; `onWait` is called once when another process holds it. Returns the function that frees it. */
export async function takeLock(path, onWait = () => {}) {
  mkdirSync(dirname(path), { recursive: true })
  const own = `${path}.${process.pid}`
  writeFileSync(own, JSON.stringify(identify(process.pid)))
  let told = false
  try {
    for (;;) {
      try {
        linkSync(own, path)
        return () => rmSync(path, { force: true })
      } catch (error) {
        if (error.code !== 'EEXIST') throw error
      }
      const owner = read(path)
      if (owner !== undefined && isAlive(owner)) {
        if (!told) onWait(owner)
        told = true
        await new Promise((resolve) => setTimeout(resolve, 100))
      } else {
        breakStale(path, own)
      }
    }
  } finally {
    rmSync(own, { force: true })
  }
}

/** Moves the dead owner's file away; puts it back if a living one took its place meanwhile. */
function breakStale(path, own) {
  const moved = `${own}.stale`
  try {
    renameSync(path, moved)
  } catch {
    return
  }
  const owner = read(moved)
  if (owner !== undefined && isAlive(owner)) {
    try {
      linkSync(moved, path)
    } catch {}
  }
  rmSync(moved, { force: true })
}

function read(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}
