/**
 * The key under which a message's effects land once: (group, tenant, message_id). The id is kept as a UUID: a UUID or
 * ULID as it is, anything else as a UUIDv8 of its SHA-256, so that the index stays narrow and `2f…` and `2F…` are one id.
 * `day` is a function of the id alone (UUIDv7 and ULID carry their time), so a copy sent a day later meets its key.
 */
export type MessageKey = {
  /** 36 characters, lower case, with hyphens. */
  readonly uuid: string
  /** Days since 1970 in UTC; 0 for an id that carries no time. */
  readonly day: number
}
