import type { SqlEffect } from '../core/effects.ts'
import { TenantryError } from '../core/errors.ts'
import { encodeParameter } from '../core/sql-text.ts'

/**
 * A statement of an actor's own runs inside a transaction that carries other tenants' effects, so only statements that
 * cannot end or change it may stand there. The list says what is allowed, not what is forbidden: `commit`, `set role`,
 * `lock`, `copy`, `listen` and whatever PostgreSQL will add are all refused.
 */
const allowed = new Set(['select', 'insert', 'update', 'delete', 'merge', 'with', 'values'])

const maxParameters = 65_533

/** What was judged, by the template's own object: a template literal's is the same at each run. */
const judged = new WeakSet<TemplateStringsArray>()

/** The effect of one statement. Throws TENANTRY_BAD_STATEMENT, or TENANTRY_BAD_VALUE for a parameter. */
export function statement(text: TemplateStringsArray, values: readonly unknown[], maxDepth: number): SqlEffect {
  if (!judged.has(text)) {
    judge(text)
    judged.add(text)
  }
  mustFit(values)
  return {
    kind: 'sql',
    text,
    values: values.map((value, i) => encodeParameter(`parameter ${i + 1} of ctx.sql`, value, maxDepth)),
  }
}

/** Throws TENANTRY_BAD_STATEMENT for more parameters than the protocol counts: the driver would not send the statement. */
export function mustFit({ length }: readonly unknown[]): void {
  if (length <= maxParameters) return
  throw new TenantryError(
    'TENANTRY_BAD_STATEMENT',
    `a statement takes ${maxParameters} parameters at most: give an array for many values, or several statements`,
    { parameters: length },
  )
}

function judge(text: TemplateStringsArray): void {
  if (!isTemplate(text)) {
    throw new TenantryError(
      'TENANTRY_BAD_STATEMENT',
      'ctx.sql is a tag: write ctx.sql`…` so that values become parameters',
    )
  }
  const [first = ''] = text
  const word = /^[a-z]+/i.exec(withoutComments(first))?.[0]?.toLowerCase() ?? ''
  if (!allowed.has(word)) {
    throw new TenantryError(
      'TENANTRY_BAD_STATEMENT',
      `ctx.sql takes select, insert, update, delete, merge, with and values, not ${word === '' ? 'this' : word}`,
      { word },
    )
  }
  if (text.some((part) => part.includes('\0')))
    throw new TenantryError('TENANTRY_BAD_STATEMENT', 'the statement has U+0000 in it')
}

function isTemplate(text: unknown): boolean {
  return Array.isArray(text) && 'raw' in text
}

/** The text from its first word on. Comments of PostgreSQL nest. */
function withoutComments(text: string): string {
  let rest = text.trimStart()
  for (;;) {
    if (rest.startsWith('--')) {
      const end = rest.indexOf('\n')
      rest = end < 0 ? '' : rest.slice(end + 1).trimStart()
    } else if (rest.startsWith('/*')) {
      rest = rest.slice(endOfComment(rest)).trimStart()
    } else {
      return rest
    }
  }
}

function endOfComment(text: string): number {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    if (text.startsWith('/*', i)) {
      depth++
      i++
    } else if (text.startsWith('*/', i)) {
      depth--
      i++
      if (depth === 0) return i + 1
    }
  }
  return text.length
}
