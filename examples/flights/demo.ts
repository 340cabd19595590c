import { Command, InvalidArgumentError, Option } from 'commander'
import { exitCodeOf } from '../../cli/exit.ts'
import { data, tellError } from '../../cli/output.ts'
import { TenantryError } from '../../core/errors.ts'
import { notOnBun } from '../../core/kafka/confluent-addon.ts'
import { ownRuntime } from '../../tools/run/runtime.ts'
import { number } from './display.ts'
import { allFlights } from './flights.ts'
import { play, type PlayOptions, type Result } from './play.ts'
import { demoFolder } from './stage.ts'

// npm run demo: a million real flights through a real Kafka, per-airport actors and a real PostgreSQL, with a SIGKILL in
// the middle; afterwards everything is compared with the file.

type Flags = Omit<PlayOptions, 'flights' | 'brokers' | 'folder'> & {
  readonly messages: number
  readonly all?: boolean
  readonly brokers: '1' | '3'
  readonly json?: boolean
}

const program = new Command('demo')
  .description('Sends a million real flights through tenantry, kills it in the middle, and checks every one of them.')
  .option('--messages <count>', 'how many flights', count, 1_000_000)
  .option('--all', `all ${number(allFlights)} of them`)
  .addOption(new Option('--runtime <name>', 'of the daemon').choices(['node', 'bun']).default(ownRuntime))
  .addOption(
    new Option('--driver <name>', 'the library that speaks to Kafka')
      .choices(['auto', 'confluent', 'platformatic'])
      .default('platformatic', 'platformatic, the faster one'),
  )
  .addOption(new Option('--brokers <number>', 'Kafka brokers').choices(['1', '3']).default('1'))
  .option('--json', 'print the result as one JSON object in the last line of standard output')
  .exitOverride()
  .action(async ({ messages, all, brokers, json, ...flags }: Flags) => {
    if (flags.runtime === 'bun' && flags.driver === 'confluent')
      throw new TenantryError('TENANTRY_USAGE', `${notOnBun}: leave out --driver confluent, or --runtime bun.`, {
        runtime: flags.runtime,
        driver: flags.driver,
      })
    const result = await play({
      ...flags,
      brokers: brokers === '3' ? 3 : 1,
      flights: all === true ? allFlights : messages,
      folder: demoFolder,
    })
    data(told(result))
    if (json === true) data(JSON.stringify(result))
    if (!result.right) process.exitCode = 1
  })

function told(result: Result): string {
  const { latency_ms: latency, came_again: again, verify, compared } = result
  return `
${number(result.processed)} flights of ${number(compared.airports)} airports, ${number(compared.events)} late ones told to others (${number(compared.events_repeated)} of these events sent twice, and recognised).
After the SIGKILL ${number(again.records)} records came again: ${number(again.recognised)} were done and recognised, ${number(again.run_again)} had been in flight and ran again.
${number(result.duplicates)} flights had been sent twice by their producer: recognised by their message id.

  lost ${result.lost}, duplicated ${result.duplicated}, reordered ${result.reordered}   (compared with the file: rows, sums, chains, events)
  lost ${verify.lost}, duplicated ${verify.duplicated}, reordered ${verify.reordered}   (tenantry verify: ${number(verify.checked)} checks of Kafka's logs against the tables)
  ${number(result.rate_per_second)} flights a second while a daemon was up; ${result.runtime}, ${result.driver}
  latency at ${number(result.steady_per_second)} a second: p50 ${latency.p50} ms, p99 ${latency.p99} ms from sending to commit

${result.right ? 'Each flight exactly once, and in order.' : 'Something is WRONG: see above.'}`
}

function count(text: string): number {
  const value = Number(text.replaceAll(/[_,]/g, ''))
  if (Number.isSafeInteger(value) && value >= 1_000 && value <= allFlights) return value
  throw new InvalidArgumentError(`a whole number from 1,000 to ${number(allFlights)} is wanted`)
}

try {
  await program.parseAsync()
} catch (error) {
  tellError(error, false)
  process.exitCode = exitCodeOf(error)
}
