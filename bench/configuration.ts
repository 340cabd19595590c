import { resolve } from 'node:path'
import { checkout } from '../cli/dev/programs.ts'
import { TenantryError } from '../core/errors.ts'
import type { Runtime } from '../tools/run/runtime.ts'

/** How the daemon runs. Two configurations that are compared differ in one of these. */
export type Configuration = {
  readonly runtime: Runtime
  readonly driver: 'confluent' | 'platformatic'
  /** What the settings are called in the report; '' for the defaults. */
  readonly variant: string
  /** Keys of the daemon's configuration, `key=value`. */
  readonly settings: readonly string[]
  /** Flags of the runtime, `--flag=value`. */
  readonly runtimeFlags: readonly string[]
  /** The checkout whose daemon runs. */
  readonly checkout: string
}

/** Runtimes with their drivers, by the names that `--on` takes. */
export const pairs = {
  confluent: { runtime: 'node', driver: 'confluent' },
  platformatic: { runtime: 'node', driver: 'platformatic' },
  bun: { runtime: 'bun', driver: 'platformatic' },
} as const

export type Pair = keyof typeof pairs

export type ConfigurationFlags = {
  readonly on: readonly Pair[]
  readonly set: readonly string[]
  /** `name:key=value,key=value`, each another configuration; `--flag=value` is one of the runtime's. */
  readonly variant: readonly string[]
  /** The checkout whose daemon runs; this one when left out. */
  readonly checkout?: string
  /** Another checkout, to be compared. */
  readonly against?: string
}

/** Every combination of what was asked for, in the order in which they alternate. */
export function configurations({
  on,
  set,
  variant,
  checkout: own = checkout,
  against,
}: ConfigurationFlags): readonly Configuration[] {
  const variants = variant.length === 0 ? [{ name: '', settings: [] }] : variant.map(variantOf)
  const checkouts = [own, ...(against === undefined ? [] : [against])].map((folder) => resolve(folder))
  return on.flatMap((pair) =>
    variants.flatMap(({ name, settings }) =>
      checkouts.map((from, index) => ({
        ...pairs[pair],
        variant: [name, index > 0 ? 'against' : ''].filter((word) => word !== '').join(' '),
        settings: [...set, ...settings.filter((setting) => !setting.startsWith('--'))],
        runtimeFlags: settings.filter((setting) => setting.startsWith('--')),
        checkout: from,
      })),
    ),
  )
}

export function labelOf({
  runtime,
  driver,
  variant,
}: {
  readonly runtime: string
  readonly driver: string
  readonly variant: string
}): string {
  return `${runtime} ${driver}${variant === '' ? '' : ` (${variant})`}`
}

function variantOf(text: string): { readonly name: string; readonly settings: readonly string[] } {
  const at = text.indexOf(':')
  const settings = text
    .slice(at + 1)
    .split(',')
    .filter((setting) => setting !== '')
  if (at < 1 || settings.some((setting) => !setting.includes('=') && !setting.startsWith('--')))
    throw new TenantryError(
      'TENANTRY_USAGE',
      '--variant wants NAME:KEY=VALUE,KEY=VALUE, such as --variant four:commit.lanes=4; NAME: alone is the defaults.',
    )
  return { name: text.slice(0, at), settings }
}
