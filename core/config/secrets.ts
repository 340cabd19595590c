import { masked, namesSecret, redactText } from '../redact.ts'
import { type Plain, shapeAt } from './shape.ts'
import type { Tree } from './tree.ts'

/** A value as it may be shown: secrets masked, addresses without their passwords. */
export function shown(path: readonly string[], value: Plain): Plain {
  if (typeof value !== 'string') return value
  const shape = shapeAt(path)
  if ((shape?.kind === 'value' && shape.secret === true) || namesSecret(path.at(-1) ?? '')) return masked
  return redactText(value)
}

/** A whole tree as it may be shown. */
export function shownTree(value: Plain, path: readonly string[] = []): Plain {
  if (typeof value !== 'object' || value === null) return shown(path, value)
  if (isList(value)) return value.map((item) => shown(path, item))
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shownTree(item, [...path, key])]))
}

function isList(value: Plain): value is readonly Plain[] {
  return Array.isArray(value)
}

/** The secrets themselves, to be taken out of whatever a library may say. */
export function secretValues(tree: Tree): readonly string[] {
  const found: string[] = []
  const walk = (value: Plain, path: readonly string[]): void => {
    if (typeof value === 'string') {
      const shape = shapeAt(path)
      if ((shape?.kind === 'value' && shape.secret === true) || namesSecret(path.at(-1) ?? '')) found.push(value)
      else if (shape?.kind === 'value' && shape.secret === 'url') found.push(...passwordsOf(value))
    } else if (typeof value === 'object' && value !== null && !isList(value)) {
      for (const [key, item] of Object.entries(value)) walk(item, [...path, key])
    }
  }
  walk(tree.get([]) ?? null, [])
  return found
}

function passwordsOf(url: string): readonly string[] {
  const written = /^[a-z][a-z0-9+.-]*:\/\/[^\s:/?#@]*:(.*)@/i.exec(url)?.[1]
  if (written === undefined || written === '') return []
  try {
    return [written, decodeURIComponent(written)]
  } catch {
    return [written]
  }
}
