// Must be imported before uvu: tells it not to start by itself, and gives it the one queue that the harness runs.

declare global {
  var UVU_DEFER: number | undefined
  var UVU_QUEUE: unknown[][] | undefined
}

globalThis.UVU_DEFER = 1
globalThis.UVU_QUEUE = [[null]]
