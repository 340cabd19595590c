import type { Plain, Value } from './shape.ts'

/**
 * Texts from outside YAML (environment, flags, `${NAME}` in the file) as the value that a key wants: a number where it
 * takes numbers, a list split at commas. What does not fit stays a text, and the schema says what is wrong with it.
 */
export function wordFor(shape: Value, text: string): Plain {
  const trimmed = text.trim()
  if (shape.types.has('array')) return trimmed === '' ? [] : trimmed.split(',').map((item) => item.trim())
  if (takesNumbers(shape) && /^-?\d{1,15}(\.\d{1,15})?$/.test(trimmed)) return Number(trimmed)
  if (shape.types.has('boolean')) {
    if (trimmed === 'true') return true
    if (trimmed === 'false') return false
  }
  return shape.secret === true ? text : trimmed
}

function takesNumbers({ types }: Value): boolean {
  return types.has('integer') || types.has('number')
}

const reference = /\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}/g

/**
 * `${NAME}` and `${NAME:-instead}` replaced by the environment; `$$` is one `$`. Undefined where nothing was to be
 * replaced. `missing` are the variables that are not set, or empty, and have nothing instead.
 */
export function interpolate(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): { readonly text: string; readonly missing: readonly string[] } | undefined {
  if (!text.includes('$')) return undefined
  const missing: string[] = []
  let found = false
  const replaced = text.replace(reference, (written: string, name: string | undefined, instead: string | undefined) => {
    found = true
    if (name === undefined) return '$'
    const value = env[name]
    if (value !== undefined && value !== '') return value
    if (instead !== undefined) return instead
    missing.push(name)
    return written
  })
  return found ? { text: replaced, missing } : undefined
}
