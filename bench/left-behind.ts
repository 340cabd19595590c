import { identify } from '../tools/setup/process.mjs'

/** In the name of what a run makes on a server: whose it is, so that it can go when its process was ended before. */
export function ownMark(): string {
  return `p${process.pid}`
}

/** Whether the process that made something of this name is no more. Only of this machine's can it be known. */
export function isLeftBehind(name: string): boolean {
  const pid = Number(/[-_]p(\d+)[-_]/.exec(name)?.[1])
  return pid > 0 && identify(pid) === undefined
}
