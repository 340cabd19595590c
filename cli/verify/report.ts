/** What the checker looks for. */
const faults = ['lost', 'duplicated', 'reordered', 'invented'] as const
type Fault = (typeof faults)[number]

/** One thing that is wrong, named well enough to be looked at. */
export type Finding = {
  readonly fault: Fault
  readonly what: string
  readonly topic?: string
  readonly partition?: number
  readonly offset?: number
  readonly tenant?: string
  readonly messageId?: string
}

/** Whether a fault could have been seen had it been there, by what, and how much was looked at. */
export type Proof = { readonly proven: boolean; readonly by: readonly string[]; readonly checked: number }

export type Report = {
  readonly group: string
  readonly mode: 'message-id' | 'offset'
  readonly topics: readonly string[]
  /** Records that Kafka shows and progress calls done, without those that are parked. */
  readonly records: number
  /** Of them: messages processed, further copies of a message, given up on, passed over. */
  readonly processed: number
  /** Of those processed: given up before, and replayed. */
  readonly replayed: number
  readonly duplicates: number
  readonly dead_letters: number
  readonly skipped: number
  /** Records that progress does not call done yet, and those that are parked. */
  readonly waiting: number
  /** Of them: kept in PostgreSQL, because their tenants could not take them. */
  readonly parked: number
  /** Of those that progress does not call done: failed, and to be tried again. */
  readonly retried: number
  /** Records or effects without the other one; all 0 is right. */
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
  /** Keys, effects, states, dead letters and parked records that no record explains. */
  readonly invented: number
  readonly proofs: { readonly lost: Proof; readonly duplicated: Proof; readonly reordered: Proof }
  /** The first ones of each kind. */
  readonly findings: readonly Finding[]
  /** Why something could not be looked at. */
  readonly remarks: readonly string[]
  /** Nothing is wrong, and something was proven. */
  readonly ok: boolean
}

const examples = 10

/** Collects what a run finds. */
export class Findings {
  readonly counts = { lost: 0, duplicated: 0, reordered: 0, invented: 0 }
  readonly examples: Finding[] = []
  readonly remarks = new Set<string>()
  readonly #proofs = {
    lost: { by: new Set<string>(), checked: 0 },
    duplicated: { by: new Set<string>(), checked: 0 },
    reordered: { by: new Set<string>(), checked: 0 },
  }

  add(finding: Finding, count = 1): void {
    const before = this.examples.filter(({ fault }) => fault === finding.fault).length
    this.counts[finding.fault] += count
    if (before < examples) this.examples.push(finding)
  }

  remark(text: string): void {
    this.remarks.add(text)
  }

  /** The fault would have been seen in any of `checked` things. */
  prove(fault: keyof Report['proofs'], by: string, checked: number): void {
    this.#proofs[fault].by.add(by)
    this.#proofs[fault].checked += checked
  }

  proof(fault: keyof Report['proofs']): Proof {
    const { by, checked } = this.#proofs[fault]
    return { proven: by.size > 0, by: [...by], checked }
  }
}
