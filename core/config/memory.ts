import { totalmem } from 'node:os'

/** Bytes that this process may use: the container's limit, or all that the machine has. */
export function usableMemory(
  limit: number | undefined = process.constrainedMemory(),
  total: number = totalmem(),
): number {
  // Without a limit runtimes say 0, nothing, or more than there is.
  return limit !== undefined && limit > 0 ? Math.min(limit, total) : total
}
