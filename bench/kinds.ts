import type { Run } from './run.ts'

/** What a run was asked for. */
type Asked = Pick<Run, 'scenario' | 'subject' | 'driver' | 'variant' | 'messages' | 'warm_up'> &
  Pick<Run, 'message_bytes' | 'tenants' | 'partitions'> & {
    readonly mode: string
    readonly runtime: string
    readonly paced?: boolean | undefined
    readonly offered_per_second?: number | undefined
    readonly grown?: { readonly of: string; readonly at: number } | undefined
    readonly search?: readonly unknown[] | undefined
    readonly backlog?: { readonly messages: number } | undefined
  }

/** Runs of one kind: there is one at least. */
export type Kind<R> = readonly [R, ...R[]]

/** Runs of one kind together, by what names it, in the order in which kinds first come. */
export function kindsOf<R extends Asked>(runs: readonly R[]): ReadonlyMap<string, Kind<R>> {
  const kinds = new Map<string, [R, ...R[]]>()
  for (const run of runs) {
    const name = JSON.stringify(wordsOf(run))
    const known = kinds.get(name)
    if (known) known.push(run)
    else kinds.set(name, [run])
  }
  return kinds
}

/** A kind as one line. */
export function kindText(run: Asked): string {
  return wordsOf(run)
    .slice(0, -1)
    .filter((word) => word !== '')
    .join(', ')
}

/** What two runs have in common of which one can be set beside the other, in the order in which a line shows it. */
function wordsOf(run: Asked): readonly string[] {
  const { scenario, grown, mode, subject, runtime, driver, variant, tenants, partitions, message_bytes: bytes } = run
  const place = grown === undefined ? '' : `${grown.of} ${grown.at.toLocaleString('en')}`
  return [scenario, place, mode, subject, runtime, driver, variant, sizeOf(run), `${tenants}/${partitions}/${bytes}`]
}

/** What was asked for, and not what came of it. */
function sizeOf({ search, paced, offered_per_second: offered, backlog, messages, warm_up: warmUp }: Asked): string {
  if (search !== undefined || paced === true) return ''
  // How many of them are measured depends on where the warm-up's last transaction ended.
  if (offered === undefined) return `${(messages + warmUp).toLocaleString('en')} messages`
  const behind = backlog === undefined ? '' : `${backlog.messages.toLocaleString('en')} behind, `
  return `${behind}${offered.toLocaleString('en')}/s`
}
