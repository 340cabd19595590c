// What set-up has done to node_modules, written last, inside it: whoever wipes node_modules wipes the stamp with it.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './paths.mjs'

const path = join(root, 'node_modules/.tenantry-stamp')

export function readStamp() {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return {}
  }
}

export function writeStamp(changes) {
  const temporary = `${path}.${process.pid}`
  writeFileSync(temporary, JSON.stringify({ ...readStamp(), ...changes }))
  renameSync(temporary, path)
}
