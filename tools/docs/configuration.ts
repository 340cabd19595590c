import { refusedKeys } from '../../core/config/driver-keys.ts'
import { wellKnown } from '../../core/config/environment.ts'
import { typeName } from '../../core/config/explain.ts'
import { type Plain, rootShape, type Shape, valueKeys } from '../../core/config/shape.ts'
import { code, markdownTable } from './tables.ts'

const intro = `# Configuration

One file, \`tenantry.yml\`, with the environment and flags over it. Nothing needs to be in it but how to reach Kafka and
PostgreSQL, and the groups to run:

\`\`\`yaml
kafka:
  brokers: [kafka-1:9092, kafka-2:9092, kafka-3:9092]
  tls: { enabled: true, ca: pki/ca.pem }
  sasl: { mechanism: SCRAM-SHA-512, username: actuator, password: "\${KAFKA_PASSWORD}" }
postgres:
  url: postgres://actuator@db:5432/app
groups:
  actuator: { start: earliest }
workers:
  drainDeadline: 25s
backpressure:
  budgetBytes: 256MiB
\`\`\`

## Where values come from

Each of these goes over the one before; \`tenantry config print\` shows each value with its origin, and
\`tenantry config explain KEY\` says what a key is and where its value came from.

1. The defaults below.
2. The file: \`--config FILE\`, else \`TENANTRY_CONFIG\`, else \`tenantry.yml\` in the folder where it is started.
3. The environment: \`TENANTRY_SECTION__KEY\`. Two underscores go one level down, one begins a new word:
   \`http.allowedHosts\` is \`TENANTRY_HTTP__ALLOWED_HOSTS\`, \`topics.core.commands.v1.partitions\` is
   \`TENANTRY_TOPICS__CORE_COMMANDS_V1__PARTITIONS\`. Lists are split at commas. An empty variable is not set.
4. Flags: \`--set KEY=VALUE\`, and those that a command has of its own. Secrets are refused here: everybody on the machine
   can read a command line.

Other tools' names are understood, too, where ours is not set: WELL_KNOWN.

Every variable has a variant that ends in \`_FILE\` and names a file that holds the value, for mounted secrets:
\`DATABASE_URL_FILE=/run/secrets/database\`.

In the file, \`\${NAME}\` is replaced by the environment variable, \`\${NAME:-value}\` by the value where it is not set, and
\`$$\` is a dollar sign. A variable that is missing is an error.

## How values are written

- A **duration** has a unit: \`250ms\`, \`30s\`, \`5m\`, \`1.5h\`, \`7d\`, \`2w\`. A bare number is refused.
- A **size** is \`64KiB\`, \`8MiB\`, \`1GB\`, or a number of bytes.
- The file is UTF-8 of at most 1 MiB, and YAML 1.2: \`no\` is a text, not false; \`012\` is refused; a key that stands twice,
  tabs, and unknown keys are errors that name file, line and the nearest known key. All of them are told at once; the exit
  code is 3.
- Certificates are paths, relative to the file, or the PEM itself.
- Secrets are masked wherever the configuration is shown: printed, explained, in errors and in log lines.

\`tenantry config schema\` prints the JSON Schema, for editors:
\`# yaml-language-server: $schema=tenantry.schema.json\` at the top of the file.
`

/** docs/configuration.md. */
export function configurationPage(): string {
  const known = Object.entries(wellKnown).map(([name, key]) => `${code(name)} (${code(key)})`)
  const parts = [intro.replace('WELL_KNOWN', known.join(', ')), '## Keys\n']
  for (const [name, shape] of rootShape().entries) {
    parts.push(`### ${name}\n`, `${shape.doc}\n`, `${sectionTable(name, shape)}\n`)
  }
  parts.push(
    '## Keys of librdkafka that are refused\n',
    'Keys under `confluent` are handed to the driver as they are, except those that a guarantee rests on. Setting one to the value that it has anyway is allowed.\n',
    `${markdownTable(
      ['key', 'why'],
      refusedKeys.map(({ key, reason }) => [code(key), reason]),
    )}\n`,
  )
  return parts.join('\n')
}

function sectionTable(name: string, shape: Shape): string {
  const rows = [...valueKeys(shape, [name])].map(({ path, shape: value }) => {
    const doc = value.doc === '' ? (docOf(path.slice(0, -1)) ?? '') : value.doc
    const byDefault = value.default === undefined ? '' : code(written(value.default))
    return [code(path.join('.')), typeName(value), byDefault, doc]
  })
  return markdownTable(['key', 'type', 'default', 'what'], rows)
}

/** The documentation of a map whose keys the user names. */
function docOf(path: readonly string[]): string | undefined {
  let shape: Shape | undefined = rootShape()
  for (const part of path) {
    if (shape?.kind === 'section') shape = shape.entries.get(part)
    else if (shape?.kind === 'map') shape = shape.each
  }
  return shape?.doc
}

function written(value: Plain): string {
  return typeof value === 'string' ? (value === '' ? '""' : value) : JSON.stringify(value)
}
