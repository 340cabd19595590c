import { concernsAll } from '../core/postgres/sqlstate.ts'
import type { Suspect } from './bisection.ts'
import type { Mailbox } from './mailbox.ts'

/** Fewer tenants than this failing alike never count as everybody's failure: it may be their own. */
const fewest = 3

export type SharedFailuresSettings = {
  /** Tenants have failed alike when they did so within this time. */
  readonly systemicWindowMs: number
  /** A value or a constraint that everybody's messages break is the messages' own fault after this time. */
  readonly systemicLimitMs: number
}

/** Tenants of one actor that failed with one SQLSTATE, and when they did last, longest ago first. */
type Alike = { readonly whose: string; readonly sqlstate: string; since: number; readonly tenants: Map<string, number> }

/** Held because it may not be its own failure; `what` is its kind of message. */
type Ailing = { readonly sqlstate: string; readonly what: string; readonly since: number }

/**
 * Tells a tenant's own failure from one that all share: a missing table, a revoked right, a bad deploy. For those nobody
 * gets a dead letter. What it goes by:
 * - an SQLSTATE that is about the database's objects and rights is a message's own fault only when the like of it has
 *   been committed for another tenant since; or when a worker says so, and to few: a message may name what never was
 * - any other is shared when more tenants have failed so, of late, than have had a message processed since the first
 * What another group's actor makes of the same messages, in tables of its own, says nothing of it.
 */
export class SharedFailures {
  readonly #settings: SharedFailuresSettings
  readonly #mailboxes: () => Iterable<Mailbox>
  readonly #alike = new Map<string, Alike>()
  readonly #ailing = new Map<Mailbox, Ailing>()
  /** When a kind of message was last processed for a tenant that does not ail. Kept only while one does. */
  readonly #processed = new Map<string, number>()

  constructor(settings: SharedFailuresSettings, mailboxes: () => Iterable<Mailbox>) {
    this.#settings = settings
    this.#mailboxes = mailboxes
  }

  /** Somebody is held for it. */
  get any(): boolean {
    return this.#ailing.size > 0
  }

  /** To be told of all suspects of a commit, before the first is asked about. */
  note({ mailbox, failure, held }: Suspect, now: number): void {
    const { sqlstate } = failure
    if (held !== 'no' || sqlstate === undefined) return
    const whose = actorOf(mailbox)
    const key = alikeKey(whose, sqlstate)
    const alike = this.#alike.get(key) ?? { whose, sqlstate, since: now, tenants: new Map<string, number>() }
    for (const [tenant, at] of alike.tenants) {
      if (now - at <= this.#settings.systemicWindowMs) break
      alike.tenants.delete(tenant)
    }
    if (alike.tenants.size === 0) alike.since = now
    alike.tenants.delete(mailbox.tenant)
    alike.tenants.set(mailbox.tenant, now)
    this.#alike.set(key, alike)
  }

  /** Why it is not this tenant's own failure, which then ails until `processed` or `released`; null when it is. */
  shared(suspect: Suspect, now: number): string | null {
    const { mailbox, failure, by, held } = suspect
    const { sqlstate } = failure
    if (held !== 'no' || sqlstate === undefined) return null
    const known = this.#ailing.get(mailbox)
    const ailing = known?.sqlstate === sqlstate ? known : { sqlstate, what: kindOf(suspect), since: now }
    const reason = this.#reason(ailing, actorOf(mailbox), by, now)
    if (reason !== null) this.#ailing.set(mailbox, ailing)
    return reason
  }

  /** A message of this mailbox was processed. */
  processed(mailbox: Mailbox, decided: Suspect['decided'], now: number): void {
    this.#ailing.delete(mailbox)
    for (const [key, { whose, tenants }] of this.#alike)
      if (whose === actorOf(mailbox) && tenants.delete(mailbox.tenant) && tenants.size === 0) this.#alike.delete(key)
    if (this.any) this.#processed.set(kindOf({ mailbox, decided }), now)
    else this.#processed.clear()
  }

  /** It is held no longer: closed, blocked, or found to have failed by itself. True when it was the last one. */
  released(mailbox: Mailbox): boolean {
    return this.#ailing.delete(mailbox) && !this.any
  }

  #reason({ sqlstate, what, since }: Ailing, whose: string, by: Suspect['by'], now: number): string | null {
    const alike = this.#alike.get(alikeKey(whose, sqlstate))
    if (concernsAll(sqlstate)) {
      if (by === 'worker' && !this.#fail(fewest, sqlstate, now)) return null
      const processed = this.#processed.get(what) ?? Number.NEGATIVE_INFINITY
      return processed >= since ? null : 'nobody else has had the like of it processed since'
    }
    if (alike === undefined || alike.tenants.size < fewest || now - since > this.#settings.systemicLimitMs) return null
    const failing = alike.tenants.size
    const healthy = new Set<string>()
    for (const mailbox of this.#mailboxes()) {
      if (mailbox.processedAt > alike.since && !alike.tenants.has(mailbox.tenant) && actorOf(mailbox) === whose)
        healthy.add(mailbox.tenant)
      if (healthy.size >= failing) return null
    }
    return `${failing} of ${failing + healthy.size} active tenants fail alike`
  }

  /** Whether so many tenants have failed so of late, whatever the actor: a table may be missing to several. */
  #fail(many: number, sqlstate: string, now: number): boolean {
    const failing = new Set<string>()
    for (const alike of this.#alike.values()) {
      if (alike.sqlstate !== sqlstate) continue
      for (const [tenant, at] of alike.tenants) {
        if (now - at > this.#settings.systemicWindowMs) alike.tenants.delete(tenant)
        else if (failing.add(tenant).size >= many) return true
      }
    }
    return false
  }
}

/** Two groups may have actors of one name. */
function actorOf({ partition, actor }: Mailbox): string {
  return `${partition.group.name}\n${actor.name}`
}

function alikeKey(whose: string, sqlstate: string): string {
  return `${whose}\n${sqlstate}`
}

function kindOf({ mailbox, decided: { result } }: Pick<Suspect, 'mailbox' | 'decided'>): string {
  return `${actorOf(mailbox)}\n${result.kind === 'skipped' || result.kind === 'parked' ? '' : result.type}`
}
