/** Where a lane can be stopped in a commit. */
export const moments = ['after the keys', 'before the commit is sent', 'after the commit, before its answer'] as const
export type Moment = (typeof moments)[number]

export type Ends = {
  readonly toServer: (bytes: Buffer) => void
  readonly toClient: (bytes: Buffer) => void
  /** Where to stop; nowhere when undefined. */
  readonly moment: () => Moment | undefined
  /** The moment is there: all before it was answered, nothing after it has passed. */
  readonly stopped: () => void
}

const keys = /request_keys/

/** One connection's bytes, cut into PostgreSQL's messages. Everything passes, until the moment has come. */
export class Conversation {
  readonly #ends: Ends
  readonly #statements = new Map<string, string>()
  #asking = Buffer.alloc(0)
  #answering = Buffer.alloc(0)
  #started = false
  #statement = ''
  /** Between a statement's first message and its Sync. */
  #within = false
  /** Syncs that passed and were not answered. */
  #open = 0
  /** Of these, how many are answered before the commit that is awaited: the last one's rollback may be among them. */
  #ahead = 0
  /** The transaction has failed. */
  #failed = false
  readonly #held: Buffer[] = []
  #phase: 'passing' | 'awaiting answers' | 'awaiting the commit' | 'stopped' = 'passing'
  isLane = false

  constructor(ends: Ends) {
    this.#ends = ends
  }

  /** Bytes of the client. */
  asked(bytes: Buffer): void {
    this.#asking = Buffer.concat([this.#asking, bytes])
    if (!this.#started && !this.#start()) return
    while (this.#phase === 'passing' || this.#phase === 'awaiting the commit') {
      const message = whole(this.#asking)
      if (message === undefined) return
      if (this.isLane && this.#stopsBefore(message)) {
        this.#phase = 'awaiting answers'
        return this.#settle()
      }
      this.#pass(message)
    }
  }

  /** Bytes of the server. */
  answered(bytes: Buffer): void {
    this.#answering = Buffer.concat([this.#answering, bytes])
    for (let message = whole(this.#answering); message !== undefined; message = whole(this.#answering)) {
      this.#answering = this.#answering.subarray(message.length)
      const kind = kindOf(message)
      // The first ReadyForQuery answers the start-up, not a Sync.
      if (kind === 'Z') {
        this.#open = Math.max(0, this.#open - 1)
        this.#ahead -= 1
      }
      if (kind === 'E') this.#failed = true
      if (this.#phase === 'awaiting the commit' && kind === 'C' && this.#ahead <= 0) this.#judge(message)
      if (this.#phase === 'passing' || this.#phase === 'awaiting answers') this.#ends.toClient(message)
      else this.#held.push(message)
    }
    if (this.#phase === 'awaiting answers') this.#settle()
  }

  #pass(message: Buffer): void {
    this.#asking = this.#asking.subarray(message.length)
    if (kindOf(message) === 'S') {
      this.#open += 1
      this.#within = false
    }
    this.#ends.toServer(message)
  }

  /** What the commit was answered with: a transaction that failed is no moment of a commit. */
  #judge(completed: Buffer): void {
    const tag = completed.toString('latin1', 5, completed.length - 1)
    if (tag === 'COMMIT') return this.#stop()
    if (tag !== 'ROLLBACK') return
    this.#phase = 'passing'
    for (const held of this.#held.splice(0)) this.#ends.toClient(held)
  }

  /** The first message has no kind; it says who connects. */
  #start(): boolean {
    const length = this.#asking.length < 4 ? Number.POSITIVE_INFINITY : this.#asking.readUInt32BE(0)
    if (this.#asking.length < length) return false
    const message = this.#asking.subarray(0, length)
    this.#asking = this.#asking.subarray(length)
    this.isLane = / lane \d/.test(message.toString('latin1'))
    this.#started = true
    this.#ends.toServer(message)
    return true
  }

  #stopsBefore(message: Buffer): boolean {
    const text = this.#begins(message)
    if (text === undefined) return false
    const before = this.#statement
    this.#statement = text
    const commits = text.startsWith('commit')
    if (text.startsWith('begin')) this.#failed = false
    switch (this.#ends.moment()) {
      case 'after the keys':
        return keys.test(before) && !keys.test(text)
      case 'before the commit is sent':
        return commits
      case 'after the commit, before its answer':
        if (!commits) return false
        this.#phase = 'awaiting the commit'
        this.#ahead = this.#open
        return false
      case undefined:
        return false
    }
  }

  /** The text of the statement whose first message this is. */
  #begins(message: Buffer): string | undefined {
    const kind = kindOf(message)
    if (kind !== 'P' && kind !== 'B') return undefined
    const [first = '', second = ''] = message.toString('latin1', 5).split('\0', 2)
    if (kind === 'P') this.#statements.set(first, second)
    if (this.#within) return undefined
    this.#within = true
    return kind === 'P' ? second : (this.#statements.get(second) ?? '')
  }

  #settle(): void {
    if (this.#open > 0) return
    if (!this.#failed) return this.#stop()
    this.#phase = 'passing'
    const message = whole(this.#asking)
    if (message !== undefined) this.#pass(message)
    this.asked(Buffer.alloc(0))
  }

  #stop(): void {
    this.#phase = 'stopped'
    this.#ends.stopped()
  }
}

function kindOf(message: Buffer): string {
  return String.fromCharCode(message[0] ?? 0)
}

/** The first message, once all of it is there. */
function whole(bytes: Buffer): Buffer | undefined {
  if (bytes.length < 5) return undefined
  const length = 1 + bytes.readUInt32BE(1)
  return bytes.length < length ? undefined : bytes.subarray(0, length)
}
