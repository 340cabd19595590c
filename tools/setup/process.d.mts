/** A process and when it started: the pid alone may have been used again. */
export interface ProcessRecord {
  readonly pid: number
  readonly start: string
}
export const RUN_MARK: 'TENANTRY_RUN_ID'
export function identify(pid: number): ProcessRecord | undefined
export function isAlive(record: ProcessRecord): boolean
export function parentOf(pid: number): number | undefined
export function nameOf(pid: number): string | undefined
export function signal(record: ProcessRecord, name: NodeJS.Signals): boolean
export function endAll(records: readonly ProcessRecord[], first?: NodeJS.Signals, graceMs?: number): Promise<void>
export function withEnvironment(name: string, value: string): ProcessRecord[]
export function childrenOf(pid: number): ProcessRecord[]
export function newMark(name: string): string

/** The `NAME=VALUE` of a process; none of one that has gone. Linux only. */
export function environmentOf(pid: number): string[]
