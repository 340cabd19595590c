import type { RawRun } from '../raw-run.ts'

/** A part of the report, with the pictures that its text shows, by their files' names. */
export type Section = {
  readonly title: string
  readonly text: string
  readonly pictures: ReadonlyMap<string, string>
}

/** Makes a part of the report from the runs that it is about. */
export type SectionOf = (runs: readonly RawRun[]) => Section

export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

/** A name for a file, of words. */
export function fileName(...words: readonly string[]): string {
  return words
    .join('-')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '')
}
