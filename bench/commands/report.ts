import type { Command } from 'commander'
import { say } from '../../cli/output.ts'
import { readRuns } from '../raw-run.ts'
import { writeReport } from '../reporting/write.ts'

/** `bench report`: text and pictures from runs of before. */
export function reportCommand(program: Command): void {
  program
    .command('report')
    .exitOverride()
    .description('writes a report with pictures from what --json has given, of whichever scenarios')
    .argument('<files...>', 'JSON of runs, a report, or a journal of `bench all` (.jsonl)')
    .option('--out <folder>', 'for the report', 'bench/report/local')
    .action((files: readonly string[], { out }: { readonly out: string }) => {
      const runs = files.flatMap((file) => readRuns(file))
      writeReport(out, runs)
      say(`${runs.length} runs: ${out}/README.md`)
    })
}
