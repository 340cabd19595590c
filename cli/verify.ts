import { Command, Option } from 'commander'
import { connectionOf } from '../core/config/kafka-connection.ts'
import { exitCode } from './exit.ts'
import { data, json, say, table } from './output.ts'
import { settingsOf, wantsJson } from './settings.ts'
import type { Proof, Report } from './verify/report.ts'

type VerifyFlags = {
  readonly group?: string
  readonly mode: 'message-id' | 'offset'
  readonly effects: readonly string[]
  readonly order: readonly string[]
  readonly chain: readonly string[]
}

/** `tenantry verify`. */
export function verifyCommand(): Command {
  return new Command('verify')
    .description(
      "recompute from Kafka's logs and the tables that nothing was lost, doubled or reordered; exits with 1 when something was, or when nothing can be proven",
    )
    .option('--group <name>', 'the consumer group; may be left out where only one has read anything')
    .addOption(
      new Option('--mode <mode>', 'how its actors recognise a message (idempotency)')
        .choices(['message-id', 'offset'])
        .default('message-id'),
    )
    .option('--effects <table:column>', 'a table with one row a message, and the column with its id', collect, [])
    .option(
      '--order <table:column:sequence>',
      'the same, with a column that rises from one row of a tenant to its next',
      collect,
      [],
    )
    .option(
      '--chain <place>',
      'where sha256(chain + message_id) is kept: state:PATH, state:ACTOR:PATH, or TABLE:COLUMN beside tenant_id',
      collect,
      [],
    )
    .option('--json', 'print one JSON object')
    .action(async (flags: VerifyFlags, command: Command) => {
      const { config } = settingsOf(command, ['kafka', 'postgres'])
      const { chainPlace, effectsPlace, orderPlace } = await import('./verify/places.ts')
      const { group, mode } = flags
      const { tenantHeader } = config.consumer
      const options = {
        kafka: connectionOf(config),
        postgres: config.postgres.url,
        mode,
        ...(group !== undefined && { group }),
        ...(tenantHeader !== undefined && { tenantHeader }),
        effects: flags.effects.map(effectsPlace),
        orders: flags.order.map(orderPlace),
        chains: flags.chain.map(chainPlace),
      }
      const { verify } = await import('./verify/verify.ts')
      const report = await verify(options)
      if (wantsJson(command)) json(report)
      else data(told(report))
      for (const remark of report.remarks) say(remark)
      if (!report.ok) process.exitCode = exitCode('failed')
    })
}

/** A report for people. */
function told(report: Report): string {
  const { group, mode, topics, records, processed, replayed, duplicates, dead_letters: dead, skipped } = report
  const rows = (['lost', 'duplicated', 'reordered'] as const).map((fault) => [
    fault,
    report.proofs[fault].proven ? String(report[fault]) : report[fault] > 0 ? String(report[fault]) : '?',
    provenBy(report.proofs[fault]),
  ])
  return [
    `Group ${group}, ${topics.join(', ')}, ${mode} mode: ${number(records)} records are done, ${toldWaiting(report)}.`,
    `${number(processed)} processed${replayed > 0 ? ` (${number(replayed)} after a replay)` : ''}, ${number(duplicates)} duplicates, ${number(dead)} dead letters, ${number(skipped)} skipped.`,
    table([
      ...rows,
      ['invented', String(report.invented), 'keys, effects, states, dead letters or parked records without a record'],
    ]),
    ...report.findings.map(({ fault, what, messageId, ...where }) => {
      const facts = Object.entries(where).map(([key, value]) => `${key} ${value}`)
      return `  ${fault}: ${what} (${[...(messageId === undefined ? [] : [messageId]), ...facts].join(', ')})`
    }),
    report.ok ? 'Right.' : 'Not right, or not proven.',
  ].join('\n')
}

function toldWaiting({ waiting, parked, retried }: Report): string {
  const how = [
    ...(parked > 0 ? [`${number(parked)} parked`] : []),
    ...(retried > 0 ? [`${number(retried)} to be tried again`] : []),
  ]
  return `${number(waiting)} wait${how.length > 0 ? ` (${how.join(', ')})` : ''}`
}

function provenBy({ proven, by, checked }: Proof): string {
  return proven ? `proven by ${by.join(', ')} (${number(checked)} checks)` : 'cannot be proven by what was named'
}

function number(value: number): string {
  return value.toLocaleString('en')
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value]
}
