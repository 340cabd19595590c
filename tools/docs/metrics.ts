import { catalogue, type MetricSpec } from '../../core/metric-catalogue.ts'
import { code, markdownTable } from './tables.ts'

const intro = `# Metrics

\`GET /metrics\` at \`http.host\`:\`http.port\` (127.0.0.1:9464 unless configured) answers in Prometheus' text format.
Names, types and labels are a public interface: they change only with a major version.

- Units are in the names: seconds, bytes, ratios from 0 to 1.
- Labels are bounded: groups, topics, partitions, outcomes, reasons. No label ever holds a tenant.
- Event-loop figures and worker utilisation are those since the last scrape, so scrape from one place.
- Lag by progress in PostgreSQL (\`tenantry_consumer_lag_records\`) is the true one; the group's offsets in Kafka follow
  it every second.

Probes: \`GET /health/live\` is 200 as long as the process works; it does not turn to 503 because a server elsewhere is
away. \`GET /health/ready\` is 200 when the daemon works, else 503 with the reasons. A request must name localhost, an IP
address or one of \`http.allowedHosts\` as its Host.

\`GET /stuck\` answers as JSON which tenants and partitions do not go on and what each waits for, as
\`tenantry stuck --json\` prints it; it takes \`tenant\`, \`group\`, \`limit\` (50) and \`longerThanMs\` (5000). It
names tenants, which no metric does: think of that before \`http.host\` is anything but 127.0.0.1.
`

/** docs/metrics.md. */
export function metricsPage(): string {
  const specs: readonly MetricSpec[] = Object.values(catalogue)
  const rows = specs.map(({ name, type, labels, help }) => [code(name), type, labels.map(code).join(', '), help])
  const buckets = specs.flatMap(({ name, buckets: bounds }) =>
    bounds === undefined ? [] : [`- ${code(name)}: ${bounds.join(', ')}`],
  )
  return [
    intro,
    '## All metrics\n',
    `${markdownTable(['name', 'type', 'labels', 'what'], rows)}\n`,
    '## Buckets of the histograms\n',
    `${buckets.join('\n')}\n`,
  ].join('\n')
}
