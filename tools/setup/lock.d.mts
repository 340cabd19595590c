import type { ProcessRecord } from './process.mjs'
export function takeLock(path: string, onWait?: (owner: ProcessRecord) => void): Promise<() => void>
