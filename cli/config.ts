import { Command } from 'commander'
import { explain, type Explanation, printed } from '../core/config/explain.ts'
import { ConfigError } from '../core/config/problems.ts'
import { shownTree } from '../core/config/secrets.ts'
import { jsonSchema, valueKeys } from '../core/config/shape.ts'
import { keyName } from '../core/config/tree.ts'
import { exitCode } from './exit.ts'
import { data, json, say, table, tellError } from './output.ts'
import { sayWarnings, settingsOf, wantsJson } from './settings.ts'

/** `tenantry config print|validate|schema|explain KEY`. */
export function configCommand(): Command {
  const config = new Command('config').description('the configuration, and where each value comes from')

  config
    .command('print')
    .description('print the whole configuration as it is in force, secrets masked, each value with its origin')
    .option('--json', 'print one JSON object: config, origins, file')
    .action((_flags, command: Command) => {
      const loaded = settingsOf(command, [])
      sayWarnings(loaded)
      if (!wantsJson(command)) return data(printed(loaded))
      const { tree, file = null } = loaded
      const origins: Record<string, unknown> = {}
      for (const section of new Set([...valueKeys()].map(({ path }) => path[0] ?? ''))) {
        for (const { key, origin } of explain(loaded, section)) if (origin) origins[key] = origin
      }
      json({ config: shownTree(tree.get([]) ?? {}), origins, file })
    })

  config
    .command('validate')
    .description('check the configuration, with the environment that it would have here; exits with 3 when it is wrong')
    .option('--json', 'print one JSON object: valid, file, problems, warnings')
    .action((_flags, command: Command) => {
      const asJson = wantsJson(command)
      try {
        const { file = null, warnings } = settingsOf(command, ['kafka', 'postgres'])
        if (asJson) return json({ valid: true, file, problems: [], warnings })
        for (const warning of warnings) say(`Warning: ${warning}.`)
        say(`The configuration is valid${file === null ? ' (no file: defaults and environment)' : `: ${file}`}.`)
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error
        if (asJson) json({ valid: false, file: error.file ?? null, problems: error.problems, warnings: [] })
        else tellError(error, false)
        process.exitCode = exitCode('config')
      }
    })

  config
    .command('schema')
    .description('print the JSON Schema of tenantry.yml, for editors')
    .action(() => data(JSON.stringify(jsonSchema(), null, 2)))

  config
    .command('explain')
    .description('say what a key is, its value and where that came from')
    .argument('<key>', 'such as http.port, or a section such as workers')
    .option('--json', 'print one JSON array')
    .action((key: string, _flags, command: Command) => {
      const loaded = settingsOf(command, [])
      const found = explain(loaded, key)
      if (wantsJson(command)) json(found)
      else data(found.map(paragraph).join('\n\n') || `${keyName([key])} holds nothing yet`)
    })

  return config
}

function paragraph({ key, value, effective, origin, type, doc, default: byDefault }: Explanation): string {
  const from = origin === null ? 'not set' : origin.kind === 'default' ? 'the default' : origin.where
  return [
    `${key} = ${text(value)}${effective === undefined ? '' : ` (here: ${text(effective)})`}`,
    table([
      ['  from', from],
      ['  type', type],
      ['  default', byDefault === null ? 'none' : text(byDefault)],
      ['  what', doc],
    ]),
  ].join('\n')
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
