/** What was seen that should not be, besides what the checkers count; the same thing once. */
export class Findings {
  readonly #say: (text: string) => void
  readonly #all: string[] = []

  constructor(say: (text: string) => void) {
    this.#say = say
  }

  get all(): readonly string[] {
    return this.#all
  }

  add(text: string): void {
    if (this.#all.includes(text)) return
    this.#all.push(text)
    this.#say(`FINDING: ${text}`)
  }
}
