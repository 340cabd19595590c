// Progress of set-up: one plain line a step, on stderr, so that stdout stays the program's own.

/** Prints one line. */
export function say(text) {
  process.stderr.write(`set-up: ${text}\n`)
}

/** Runs a step, and says how long it took. */
export async function step(name, work) {
  const started = Date.now()
  say(`${name} …`)
  const result = await work()
  say(`${name}: done in ${((Date.now() - started) / 1000).toFixed(1)} s`)
  return result
}

/** Something that the user can put right: printed as one sentence, without a stack. */
export class SetupError extends Error {}
