import type { Command } from 'commander'
import type { Need } from '../core/config/checks.ts'
import { type Flag, type Loaded, loadConfig } from '../core/config/load.ts'
import { TenantryError } from '../core/errors.ts'
import { say } from './output.ts'

/** Options that every command understands. */
type GlobalFlags = { readonly config?: string; readonly set?: readonly string[]; readonly json?: boolean }

/** The configuration as file, environment and this command line give it. `flags` are the command's own. */
export function settingsOf(command: Command, needs: readonly Need[], flags: readonly Flag[] = []): Loaded {
  const { config, set = [] } = command.optsWithGlobals<GlobalFlags>()
  return loadConfig({
    ...(config !== undefined && { file: config }),
    env: process.env,
    flags: [...set.map(setting), ...flags],
    needs,
  })
}

/** Whether this command line asks for JSON. */
export function wantsJson(command: Command): boolean {
  return command.optsWithGlobals<GlobalFlags>().json === true
}

/** What is not wrong but perhaps not meant, on standard error. */
export function sayWarnings({ warnings }: Loaded): void {
  for (const warning of warnings) say(`Warning: ${warning}.`)
}

function setting(text: string): Flag {
  const at = text.indexOf('=')
  if (at < 1) throw new TenantryError('TENANTRY_USAGE', `--set wants KEY=VALUE, such as --set http.port=0.`)
  const key = text.slice(0, at)
  return { key, value: text.slice(at + 1), flag: `--set ${key}` }
}
