import { createInterface } from 'node:readline/promises'
import type { Readable, Writable } from 'node:stream'

/** Asks until the line ends; only `y` and `yes` are a yes. The end of the input is a no. */
export async function confirmed(question: string, input: Readable, output: Writable): Promise<boolean> {
  // Not as a terminal's line editor, which would take Ctrl-C for an answer.
  const lines = createInterface({ input, output, terminal: false })
  try {
    const ended = new Promise<string>((resolve) => lines.once('close', () => resolve('')))
    const answer = await Promise.race([lines.question(`${question} [y/N] `), ended])
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    lines.close()
  }
}
