import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Writes `folder/actors/NAME.ts` for a daemon to load, as a user writes it. */
export function writeActor(folder: string, name: string, source: string): void {
  mkdirSync(join(folder, 'actors'), { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(join(folder, 'actors', `${name}.ts`), loadable(source))
}

/** An actor's source as it stands, but for where the packages are. */
export function loadable(source: string): string {
  return source
    .replace("from 'tenantry'", `from '${fileURLToPath(new URL('../actors/define-actor.ts', import.meta.url))}'`)
    .replace("from 'zod'", `from '${fileURLToPath(new URL('../node_modules/zod/index.js', import.meta.url))}'`)
}
