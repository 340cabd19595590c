/**
 * Reads PostgreSQL's array text: `{1,NULL,"a\"b",{…}}`. The driver's own reader takes NULL for the word.
 * `element` reads one element's text.
 */
export function parseArray<T>(text: string, element: (text: string) => T): ArrayValues<T> {
  const reader = new Reader(text, element)
  // `[0:2]={…}`: an array whose first index is not 1 says so before its values.
  reader.at = text.indexOf('{')
  return reader.array()
}

/** The elements of a bytea[]: `{"\\x00ff",NULL}`. */
export function byteaValues(text: string): (Buffer | null)[] {
  return parseArray(text, (element) => Buffer.from(element.slice(2), 'hex')).map((value) =>
    Buffer.isBuffer(value) ? value : null,
  )
}

export type ArrayValues<T> = (T | null | ArrayValues<T>)[]

class Reader<T> {
  at = 0
  readonly #text: string
  readonly #element: (text: string) => T

  constructor(text: string, element: (text: string) => T) {
    this.#text = text
    this.#element = element
  }

  array(): ArrayValues<T> {
    const values: ArrayValues<T> = []
    this.at++
    while (this.at < this.#text.length && this.#text[this.at] !== '}') {
      if (this.#text[this.at] === ',') this.at++
      else if (this.#text[this.at] === '{') values.push(this.array())
      else values.push(this.#text[this.at] === '"' ? this.#element(this.#quoted()) : this.#plain())
    }
    this.at++
    return values
  }

  #quoted(): string {
    let value = ''
    for (this.at++; this.at < this.#text.length && this.#text[this.at] !== '"'; this.at++) {
      if (this.#text[this.at] === '\\') this.at++
      value += this.#text[this.at]
    }
    this.at++
    return value
  }

  #plain(): T | null {
    const from = this.at
    while (this.at < this.#text.length && this.#text[this.at] !== ',' && this.#text[this.at] !== '}') this.at++
    const text = this.#text.slice(from, this.at)
    return text === 'NULL' ? null : this.#element(text)
  }
}
