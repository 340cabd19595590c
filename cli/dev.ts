import { Command, Option } from 'commander'
import { settingsOf } from './settings.ts'

interface UpFlags {
  readonly brokers?: '1' | '3'
  readonly json?: boolean
}

/** The command `tenantry dev`: a local Kafka, PostgreSQL and Redis in the background. */
export function devCommand(): Command {
  const dev = new Command('dev').description('a local Kafka, PostgreSQL and Redis, in the background, without Docker')

  dev
    .command('up')
    .description('start what is not running, create topics, migrate, and print the addresses')
    .addOption(new Option('--brokers <number>', 'Kafka brokers').choices(['1', '3']))
    .option('--json', 'print one JSON object')
    .action(async (flags: UpFlags, command: Command) => {
      const { devUp } = await servers()
      const { prepareDev } = await import('./dev/prepare.ts')
      const { config } = settingsOf(command, [])
      const addresses = await devUp(flags.brokers === undefined ? {} : { brokers: flags.brokers === '3' ? 3 : 1 })
      await prepareDev(addresses, config)
      print(
        flags.json === true
          ? JSON.stringify(addresses)
          : `kafka     ${addresses.kafka}\npostgres  ${addresses.postgres}\nredis     ${addresses.redis}`,
      )
    })

  dev
    .command('status')
    .description('say which servers run; exits with 1 unless all do')
    .option('--json', 'print one JSON array')
    .action(async (flags: { readonly json?: boolean }) => {
      const { devStatus } = await servers()
      const status = await devStatus()
      if (flags.json === true) print(JSON.stringify(status))
      else if (status.length === 0) print('nothing was started here yet: tenantry dev up')
      else
        for (const one of status)
          print(
            `${one.name.padEnd(10)}${one.running ? 'running' : 'stopped'}  ${one.address}${one.pid === null ? '' : `  pid ${one.pid}`}`,
          )
      if (status.length === 0 || status.some((one) => !one.running)) process.exitCode = 1
    })

  dev
    .command('down')
    .description('stop all servers; their data stay')
    .option('--wipe', 'remove the data too')
    .action(async (flags: { readonly wipe?: boolean }) => {
      const { devDown } = await servers()
      await devDown({ wipe: flags.wipe === true })
    })

  dev
    .command('logs')
    .description("print the end of a server's log")
    .argument('<name>', 'kafka-1, kafka-2, kafka-3, postgres or redis')
    .option('-n, --lines <number>', 'how many lines', '200')
    .action(async (name: string, flags: { readonly lines: string }) => {
      const { devLogs } = await servers()
      print(devLogs(name, { lines: Number(flags.lines) }))
    })

  return dev
}

/** Loaded when it is asked for: drivers take their time, and other commands need none of them. */
function servers() {
  return import('./dev/dev.ts')
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
