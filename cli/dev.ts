import { Command, InvalidArgumentError, Option } from 'commander'
import { TenantryError } from '../core/errors.ts'
import { exitCode } from './exit.ts'
import { data, json, say, table } from './output.ts'
import { sayWarnings, settingsOf, wantsJson } from './settings.ts'

/** The command `tenantry dev`: a local Kafka, PostgreSQL and Redis in the background. */
export function devCommand(): Command {
  const dev = new Command('dev').description('a local Kafka, PostgreSQL and Redis, in the background, without Docker')

  dev
    .command('up')
    .description('start what is not running, create topics, migrate, and print the addresses')
    .addOption(new Option('--brokers <number>', 'Kafka brokers').choices(['1', '3']))
    .option('--json', 'print one JSON object')
    .action(async ({ brokers }: { readonly brokers?: '1' | '3' }, command: Command) => {
      const { devUp } = await servers()
      const { prepareDev } = await import('./dev/prepare.ts')
      const loaded = settingsOf(command, [])
      sayWarnings(loaded)
      const addresses = await devUp(brokers === undefined ? {} : { brokers: brokers === '3' ? 3 : 1 })
      await prepareDev(addresses, loaded.config)
      if (wantsJson(command)) json(addresses)
      else data(table(Object.entries(addresses).map(([name, address]) => [name, String(address)])))
    })

  dev
    .command('env')
    .description('print the addresses as a shell sets them: eval "$(tenantry dev env)"')
    .action(async () => {
      const { devAddresses } = await servers()
      const addresses = await devAddresses()
      if (addresses === undefined)
        throw new TenantryError('TENANTRY_DEV_NOT_RUNNING', 'Not all servers run: start them by `tenantry dev up`.')
      data(`export KAFKA_BROKERS='${addresses.kafka}'\nexport DATABASE_URL='${addresses.postgres}'`)
    })

  dev
    .command('status')
    .description('say which servers run; exits with 1 unless all do')
    .option('--json', 'print one JSON array')
    .action(async (_flags, command: Command) => {
      const { devStatus } = await servers()
      const status = await devStatus()
      if (wantsJson(command)) json(status)
      else if (status.length === 0) say('Nothing was started here yet: tenantry dev up.')
      else
        data(
          table(
            status.map(({ name, running, address, pid }) => [
              name,
              running ? 'running' : 'stopped',
              address,
              pid === null ? '' : `pid ${pid}`,
            ]),
          ),
        )
      if (status.length === 0 || status.some(({ running }) => !running)) process.exitCode = exitCode('failed')
    })

  dev
    .command('down')
    .description('stop all servers; their data stay')
    .option('--wipe', 'remove the data too')
    .action(async ({ wipe = false }: { readonly wipe?: boolean }) => {
      const { devDown } = await servers()
      await devDown({ wipe })
    })

  dev
    .command('logs')
    .description("print the end of a server's log")
    .argument('<name>', 'kafka-1, kafka-2, kafka-3, postgres or redis')
    .option('-n, --lines <number>', 'how many lines', lineCount, 200)
    .action(async (name: string, { lines }: { readonly lines: number }) => {
      const { devLogs } = await servers()
      data(devLogs(name, { lines }))
    })

  return dev
}

/** Loaded when it is asked for: drivers take their time, and other commands need none of them. */
function servers() {
  return import('./dev/dev.ts')
}

function lineCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('A whole number from 1 is wanted.')
  return Number(text)
}
