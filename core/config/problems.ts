import { TenantryError } from '../errors.ts'

/** One thing that is wrong with the configuration. Values of secrets are never part of `what`. */
export type Problem = {
  /** `tenantry.yml:12:3`, the name of an environment variable, or a flag. */
  readonly where: string
  /** `http.port`; '' when it concerns no key. */
  readonly key: string
  readonly what: string
}

/** The configuration cannot be used: every problem found, not only the first. The command line exits with 3. */
export class ConfigError extends TenantryError {
  readonly problems: readonly Problem[]
  /** The file that was read, or was to be; undefined where there is none. */
  readonly file: string | undefined

  constructor(problems: readonly Problem[], file?: string) {
    const lines = problems.map(problemLine)
    super('TENANTRY_CONFIG_INVALID', lines.join('\n'), { problems: lines })
    this.problems = problems
    this.file = file
  }
}

/** `tenantry.yml:12:3: http.port: expected a whole number from 0 to 65535, got "x"`. */
function problemLine({ where, key, what }: Problem): string {
  return [where, key, what].filter((part) => part !== '').join(': ')
}
