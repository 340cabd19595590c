/** What is known of a thread when there is too little memory. */
export type Weighed = {
  /** Heap and buffers, by the thread's own last count. */
  readonly heldBytes: number
  /** It has not counted for a while. */
  readonly silent: boolean
}

/**
 * The thread to end when the process holds `excessBytes` too much: one that does not turn its event loop, as its count is
 * old and it may be the one that takes all the memory just now; else the one that holds most, if memory is enough without
 * it. -1 where it is no thread's doing.
 */
export function heaviest(threads: readonly Weighed[], excessBytes: number): number {
  const silent = threads.findIndex((thread) => thread.silent)
  if (silent >= 0) return silent
  let most = -1
  for (const [i, { heldBytes }] of threads.entries())
    if (heldBytes >= excessBytes && heldBytes > (threads[most]?.heldBytes ?? 0)) most = i
  return most
}
