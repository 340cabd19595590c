import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { z } from 'zod'
import { isAlive } from '../../tools/setup/process.mjs'

const schema = z.object({
  pid: z.number(),
  start: z.string(),
  ports: z.array(z.number()),
  settings: z.string(),
})

/** What is written down about a started service: which process it is, where it listens, and with which settings. */
export type ServiceRecord = z.infer<typeof schema>

/** The record at `path`, or undefined when there is none or it cannot be read. */
export function readRecord(path: string): ServiceRecord | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    return undefined
  }
}

/** Whether the process of a record is alive, and the same one. */
export function isRunning(record: ServiceRecord | undefined): record is ServiceRecord {
  return record !== undefined && isAlive(record)
}

/** Written whole or not at all. */
export function writeRecord(path: string, record: ServiceRecord): void {
  writeFileSync(`${path}.${process.pid}`, JSON.stringify(record))
  renameSync(`${path}.${process.pid}`, path)
}

export function removeRecord(path: string): void {
  rmSync(path, { force: true })
}
