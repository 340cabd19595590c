/** What can grow, in the order in which it is run. */
export const dimensions = ['tenants', 'partitions', 'workers', 'daemons', 'payload', 'effects', 'keys'] as const

/** `keys, snapshot open`: the same as `keys`, while a transaction keeps PostgreSQL from cleaning up after it. */
export type Dimension = (typeof dimensions)[number] | 'keys, snapshot open'

/** One run's sizes: those of the base but for the one that varies. */
export type Sizes = {
  readonly grown: { readonly of: Dimension; readonly at: number }
  readonly tenants: number
  readonly partitions: number
  /** Threads; as many as the daemon sees fit when left out. */
  readonly workers?: number
  readonly daemons: number
  readonly payloadBytes?: number
  readonly effects: number
  /** That are there before the first message. */
  readonly keys: number
  readonly snapshot: boolean
  /** Measured messages, and those before them. */
  readonly messages: number
  readonly warmUp: number
}

export type GrowthOptions = {
  readonly tenants: number
  readonly partitions: number
  readonly messages: number
  readonly warmUp: number
  /** The most keys; fewer ones come before it. */
  readonly keys: number
  readonly quick: boolean
}

/** Payloads of all messages of a run together, so that large ones do not fill the broker's disk. */
const mostBytes = { whole: 1_000_000_000, quick: 20_000_000 }

const values: Readonly<
  Record<Exclude<(typeof dimensions)[number], 'keys'>, { whole: readonly number[]; quick: readonly number[] }>
> = {
  tenants: { whole: [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000], quick: [1, 100, 10_000] },
  partitions: { whole: [1, 3, 6, 12, 24, 48, 96], quick: [1, 4, 12] },
  workers: { whole: [1, 2, 3, 4], quick: [1, 2] },
  daemons: { whole: [1, 2, 3], quick: [1, 2] },
  payload: { whole: [100, 1_000, 10_000, 100_000], quick: [100, 1_000, 10_000] },
  effects: { whole: [0, 1, 2, 3, 4, 5], quick: [0, 1, 2, 5] },
}

/** The runs that show how cost grows with `of`. */
export function sizesOf(of: (typeof dimensions)[number], options: GrowthOptions): readonly Sizes[] {
  const { tenants, partitions, messages, warmUp, quick } = options
  const base = { tenants, partitions, daemons: 1, effects: 1, keys: 0, snapshot: false, messages, warmUp }
  if (of === 'keys') {
    const counts = quick ? [1_000, 10_000, 100_000] : [1_000_000, 10_000_000, options.keys]
    const keys = [...new Set(counts.map((count) => Math.min(count, options.keys)))]
    return [false, true].flatMap((snapshot) =>
      keys.map((at) => ({ ...base, grown: { of: snapshot ? 'keys, snapshot open' : of, at }, keys: at, snapshot })),
    )
  }
  return values[of][quick ? 'quick' : 'whole'].map((at) => {
    const grown = { of, at }
    switch (of) {
      case 'tenants':
        return { ...base, grown, tenants: at, messages: Math.max(messages, at) } // each has one at least
      case 'partitions':
        return { ...base, grown, partitions: at }
      case 'workers':
        return { ...base, grown, workers: at }
      case 'daemons':
        return { ...base, grown, daemons: at }
      case 'payload': {
        const share = Math.min(1, mostBytes[quick ? 'quick' : 'whole'] / (at * (messages + warmUp)))
        return {
          ...base,
          grown,
          payloadBytes: at,
          messages: Math.ceil(messages * share),
          warmUp: Math.ceil(warmUp * share),
        }
      }
      case 'effects':
        return { ...base, grown, effects: at }
    }
  })
}
