import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** Reads a small file of the kernel's; undefined where it is not there. */
export type ReadText = (path: string) => string | undefined

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/**
 * Cores that this process may use: the scheduler's affinity, and the container's limit, which runtimes do not all look
 * at. A limit of 1.5 cores is 1: a thread more would only be throttled.
 */
export function usableCores(parallelism: number = availableParallelism(), read: ReadText = readText): number {
  const limit = cgroupLimit(read)
  return Math.max(1, Math.min(parallelism, limit === undefined ? parallelism : Math.floor(limit)))
}

/** The smallest limit on the way from the process's control group to the root, in cores. */
function cgroupLimit(read: ReadText): number | undefined {
  const groups = read('/proc/self/cgroup')?.split('\n') ?? []
  const limits: number[] = []
  for (const line of groups) {
    const [, controllers = '', path = '/'] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (controllers === '' && line !== '') {
      for (const folder of upwards(path)) {
        const [quota, period] = read(`/sys/fs/cgroup${folder}/cpu.max`)?.trim().split(' ') ?? []
        limits.push(Number(quota) / Number(period))
      }
    } else if (controllers.split(',').includes('cpu')) {
      for (const folder of upwards(path)) {
        const base = `/sys/fs/cgroup/cpu${folder}`
        limits.push(Number(read(`${base}/cpu.cfs_quota_us`)) / Number(read(`${base}/cpu.cfs_period_us`)))
      }
    }
  }
  const real = limits.filter((limit) => Number.isFinite(limit) && limit > 0)
  return real.length > 0 ? Math.min(...real) : undefined
}

function upwards(path: string): readonly string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..')
  return [...parts.map((_, index) => `/${parts.slice(0, parts.length - index).join('/')}`), '']
}
