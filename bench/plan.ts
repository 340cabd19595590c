import { dimensions } from './growth.ts'
import { javascriptPeers } from './peers/javascript.ts'
import { waitingKeys, workKinds } from './peers/peer.ts'
import { recoveryKinds } from './scenarios/recovery.ts'

/** One call of the bench; `all` makes one after the other. */
export type Step = { readonly args: readonly string[]; readonly round: number }

/** What is measured: often, to see the spread; and in the quick form once. */
type Part = {
  readonly args: readonly string[]
  readonly rounds: number
  /** Further arguments of the quick form, beside --quick; false for what it leaves out. */
  readonly quick: readonly string[] | false
}

const parts: readonly Part[] = [
  { args: ['throughput', '--scenario', 'rows'], rounds: 5, quick: ['--on', 'platformatic'] },
  { args: ['throughput', '--scenario', 'state'], rounds: 5, quick: ['--on', 'platformatic'] },
  { args: ['throughput', '--scenario', 'webhooks'], rounds: 5, quick: false },
  { args: ['throughput', '--scenario', 'skew,duplicates'], rounds: 5, quick: false },
  ...workKinds
    .filter((work) => work !== 'row')
    .flatMap((work): readonly Part[] =>
      work === 'wait'
        ? waitingKeys.map((keys) => peersPart(['--works', work, '--keys', String(keys)], keys === 100))
        : work === 'nothing'
          ? [peersPart(['--works', work, '--most', '5_000_000'], true)] // fewer are gone in a second, before a JVM is warm
          : [peersPart(['--works', work], work === 'transaction')],
    ),
  ...(['row', 'transaction', 'batch'] as const).map((work) =>
    peersPart(['--works', work, '--disturbed', '--rounds', '3'], false),
  ),
  { args: ['latency'], rounds: 3, quick: ['--on', 'platformatic'] },
  { args: ['latency', '--search'], rounds: 3, quick: ['--seconds', '3', '--warm-up-seconds', '1'] },
  { args: ['isolation'], rounds: 5, quick: ['--kinds', 'calm,failing', '--seconds', '3'] },
  ...recoveryKinds.map(
    (kind): Part => ({ args: ['recovery', '--kinds', kind], rounds: 3, quick: kind === 'restart' ? [] : false }),
  ),
  { args: ['lag'], rounds: 1, quick: [] },
  { args: ['stress'], rounds: 1, quick: [] },
  { args: ['stress', '--faults'], rounds: 1, quick: false },
  { args: ['parking'], rounds: 3, quick: ['--stuck-seconds', '10'] },
  { args: ['parking', '--tenants', '1'], rounds: 3, quick: false },
  { args: ['startup'], rounds: 5, quick: ['--on', 'platformatic'] },
  { args: ['tenants'], rounds: 1, quick: false },
  ...dimensions.map((of): Part => ({ args: ['growth', '--of', of], rounds: of === 'keys' ? 1 : 3, quick: [] })),
]

/** Peers have rounds of their own, in which everybody has a turn; those in Java must be built first, which can take long. */
function peersPart(args: readonly string[], quick: boolean): Part {
  const javascript = javascriptPeers.map(({ name }) => name).join(',')
  return { args: ['peers', ...args], rounds: 1, quick: quick && ['--peers', javascript] }
}

/** All steps in order: round by round, so that what changes on the machine meanwhile falls on all alike. */
export function planOf(quick: boolean): readonly Step[] {
  const chosen = quick
    ? parts.flatMap((part) =>
        part.quick === false ? [] : [{ args: [...part.args, ...part.quick, '--quick'], rounds: 1 }],
      )
    : parts
  const rounds = Math.max(...chosen.map((part) => part.rounds))
  return Array.from({ length: rounds }, (_, round) =>
    chosen.flatMap((part) => (round < part.rounds ? [{ args: part.args, round: round + 1 }] : [])),
  ).flat()
}
