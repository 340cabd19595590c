/** Tells how far it is, on standard error: a bar on a terminal, a line every other second elsewhere. */
export class Display {
  readonly #total: number
  readonly #terminal = process.stderr.isTTY && process.env['TERM'] !== 'dumb'
  readonly #started = performance.now()
  #last = Number.NEGATIVE_INFINITY
  #drawn = false
  #samples: { at: number; done: number }[] = []
  #buckets: ReadonlyMap<number, number> = new Map()
  #latency = ''

  constructor(total: number) {
    this.#total = total
  }

  /** A sentence that stays. */
  say(text: string): void {
    this.#clear()
    const seconds = ((performance.now() - this.#started) / 1000).toFixed(1).padStart(5)
    process.stderr.write(`${seconds} s  ${text}\n`)
  }

  /** The state of things; shown when it is time. */
  show(done: number, lag: number, metrics: ReadonlyMap<string, number>): void {
    const now = performance.now()
    this.#samples.push({ at: now, done })
    while (this.#samples.length > 2 && now - (this.#samples[1]?.at ?? now) > 2_000) this.#samples.shift()
    if (now - this.#last < (this.#terminal ? 200 : 2_000)) return
    this.#last = now
    const first = this.#samples[0] ?? { at: now, done }
    const rate = now > first.at ? ((done - first.done) / (now - first.at)) * 1000 : 0
    this.#measure(metrics)
    const share = Math.min(1, done / Math.max(1, this.#total))
    const facts = `${number(done)} of ${number(this.#total)} records, ${number(rate)}/s, lag ${number(lag)}${this.#latency}`
    if (!this.#terminal) return this.say(facts)
    const width = 24
    const bar = '█'.repeat(Math.round(share * width)).padEnd(width, '░')
    this.#clear()
    process.stderr.write(`${bar} ${facts}`)
    this.#drawn = true
  }

  end(): void {
    this.#clear()
  }

  #clear(): void {
    if (this.#drawn) process.stderr.write('\r\u001b[2K')
    this.#drawn = false
  }

  /** Quantiles of what was committed since the last look, from the daemon's histogram. */
  #measure(metrics: ReadonlyMap<string, number>): void {
    const buckets = new Map<number, number>()
    for (const [name, value] of metrics) {
      const bound = /^tenantry_record_latency_seconds_bucket\{le="([^"]+)"/.exec(name)?.[1]
      if (bound !== undefined) buckets.set(bound === '+Inf' ? Number.POSITIVE_INFINITY : Number(bound), value)
    }
    if (buckets.size === 0) return
    const since = [...buckets].map(([bound, count]): [number, number] => {
      const before = this.#buckets.get(bound) ?? 0
      return [bound, count >= before ? count - before : count]
    })
    since.sort(([one], [other]) => one - other)
    this.#buckets = buckets
    const total = since.at(-1)?.[1] ?? 0
    const quantile = (share: number) => {
      const bound = since.find(([, count]) => count >= total * share)?.[0] ?? 0
      return Number.isFinite(bound) ? `≤ ${bound < 1 ? `${bound * 1000} ms` : `${bound} s`}` : '> 10 s'
    }
    this.#latency = total === 0 ? '' : `, p50 ${quantile(0.5)}, p99 ${quantile(0.99)}`
  }
}

export function number(value: number): string {
  return Math.round(value).toLocaleString('en')
}
