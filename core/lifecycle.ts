/**
 * Whatever runs has one life: `start()` resolves when it works, `stop()` when nothing of it is left. Both may be called
 * twice and out of order; a second `stop()` waits for the first. (After River's rivershared/startstop.)
 */
export interface Lifecycle {
  start(): Promise<void>
  stop(): Promise<void>
}
