import { Mailbox } from './mailbox.ts'
import type { ActorRole } from './group.ts'
import type { Partition } from './partition.ts'

/**
 * All mailboxes of the daemon. An empty one is kept for a while, least recently used first out, because its worker still
 * holds the instance; past `idleMailboxes` of them, or `idleStateBytes` of state, it costs nothing any more.
 */
export class Mailboxes {
  readonly #byId = new Map<number, Mailbox>()
  readonly #idleMailboxes: number
  readonly #idleStateBytes: number
  readonly #evict: (mailbox: Mailbox) => void
  #nextId = 1
  #oldest: Mailbox | null = null
  #newest: Mailbox | null = null
  #idleCount = 0
  #idleBytes = 0

  constructor(idleMailboxes: number, idleStateBytes: number, evict: (mailbox: Mailbox) => void) {
    this.#idleMailboxes = idleMailboxes
    this.#idleStateBytes = idleStateBytes
    this.#evict = evict
  }

  get(id: number): Mailbox | undefined {
    return this.#byId.get(id)
  }

  values(): Iterable<Mailbox> {
    return this.#byId.values()
  }

  create(key: string, tenant: string, partition: Partition, actor: ActorRole): Mailbox {
    const mailbox = new Mailbox(this.#nextId++, key, tenant, partition, actor)
    this.#byId.set(mailbox.id, mailbox)
    partition.mailboxes.set(key, mailbox)
    return mailbox
  }

  /** The mailbox is gone for good; its worker has been told, or is told by whoever closes it. */
  close(mailbox: Mailbox): void {
    this.wake(mailbox)
    mailbox.closed = true
    this.#byId.delete(mailbox.id)
    mailbox.partition.mailboxes.delete(mailbox.key)
  }

  /** Nothing is in the mailbox. May evict the one that has been idle longest. */
  rest(mailbox: Mailbox): void {
    if (mailbox.idle || mailbox.closed || mailbox.parked !== null) return
    mailbox.idle = true
    mailbox.idlePrevious = this.#newest
    if (this.#newest) this.#newest.idleNext = mailbox
    else this.#oldest = mailbox
    this.#newest = mailbox
    this.#idleCount++
    this.#idleBytes += mailbox.stateBytes
    while ((this.#idleCount > this.#idleMailboxes || this.#idleBytes > this.#idleStateBytes) && this.#oldest) {
      const oldest = this.#oldest
      this.#evict(oldest)
      this.close(oldest)
    }
  }

  /** Something has come for the mailbox. */
  wake(mailbox: Mailbox): void {
    if (!mailbox.idle) return
    mailbox.idle = false
    if (mailbox.idlePrevious) mailbox.idlePrevious.idleNext = mailbox.idleNext
    else this.#oldest = mailbox.idleNext
    if (mailbox.idleNext) mailbox.idleNext.idlePrevious = mailbox.idlePrevious
    else this.#newest = mailbox.idlePrevious
    mailbox.idlePrevious = null
    mailbox.idleNext = null
    this.#idleCount--
    this.#idleBytes -= mailbox.stateBytes
  }
}
