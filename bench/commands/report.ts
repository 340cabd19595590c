import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, relative, sep } from 'node:path'
import type { Command } from 'commander'
import { say } from '../../cli/output.ts'
import { readRuns } from '../raw-run.ts'
import { withFigures } from '../reporting/readme.ts'
import { writeReport } from '../reporting/write.ts'

type ReportFlags = { readonly out: string; readonly readme?: string }

/** `bench report`: text and pictures from runs of before. */
export function reportCommand(program: Command): void {
  program
    .command('report')
    .exitOverride()
    .description('writes a report with pictures from what --json has given, of whichever scenarios')
    .argument('<files...>', 'JSON of runs, a report, or a journal of `bench all` (.jsonl)')
    .option('--out <folder>', 'for the report', 'bench/report/local')
    .option('--readme <page>', 'whose part of the bench, between its marks, is written anew from the report')
    .action((files: readonly string[], { out, readme }: ReportFlags) => {
      const runs = files.flatMap((file) => readRuns(file))
      writeReport(out, runs)
      say(`${runs.length} runs: ${out}/README.md`)
      if (readme === undefined) return
      const folder = relative(dirname(readme), out).replaceAll(sep, '/')
      writeFileSync(readme, withFigures(readFileSync(readme, 'utf8'), runs, folder))
      say(`The figures in ${readme} are the report's.`)
    })
}
