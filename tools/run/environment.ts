import { wellKnown } from '../../core/config/environment.ts'

/**
 * This process's environment for a daemon whose configuration alone is to count: without the variables that go over its
 * file, which a terminal may have from `tenantry dev env`, and without flags for Node, which would change what is measured.
 */
export function withoutSettings(env: Readonly<NodeJS.ProcessEnv> = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !isSetting(name) && name !== 'NODE_OPTIONS'))
}

function isSetting(name: string): boolean {
  return /^TENANTRY_\w+?__/.test(name) || Object.hasOwn(wellKnown, name.replace(/_FILE$/, ''))
}
