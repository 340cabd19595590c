import { cliPage } from './cli.ts'
import { configurationPage } from './configuration.ts'
import { errorsPage } from './errors.ts'
import { metricsPage } from './metrics.ts'

/** The pages that are made from the code, so that they cannot drift from it: path in the checkout, and text. */
export const pages: readonly { readonly path: string; readonly text: () => string }[] = [
  { path: 'docs/configuration.md', text: configurationPage },
  { path: 'docs/cli.md', text: cliPage },
  { path: 'docs/errors.md', text: errorsPage },
  { path: 'docs/metrics.md', text: metricsPage },
]
