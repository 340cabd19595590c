/** A fault planted into a source file: `from`, which occurs there exactly once, becomes `to`. */
type Edit = { readonly file: string; readonly from: string; readonly to: string }

/** `from`: the first seed that is tried, for one that few schedules find. */
export type Mutant = { readonly name: string; readonly edits: readonly Edit[]; readonly from?: number }

const fence = 'test/simulation/commit-statements.ts'
const parking = 'supervisors/parking.ts'
const feedBack = 'supervisors/feed-back.ts'
const partition = 'supervisors/partition.ts'
const compare = 'return last?.commitId === follows ? [] : [place]'

/** Faults that the simulation must find. Each was a hole in some consumer, or in an earlier form of this one. */
export const mutants: readonly Mutant[] = [
  {
    name: 'the orphaned commit: an unknown outcome runs again at once, and nothing compares the seq',
    edits: [
      {
        file: 'supervisors/committer.ts',
        from: 'this.#resolve(plan, result.reason.message)',
        to: 'this.#again(plan)',
      },
      {
        file: fence,
        from: compare,
        to: 'return last?.epoch === commit.partitions[place]?.epoch || follows.length < 0 ? [] : [place]',
      },
    ],
  },
  {
    name: 'the late takeover: nobody asks whether we are still a member',
    edits: [
      {
        file: 'supervisors/ownership.ts',
        from: 'if (late) await this.#proveMembership(partition, committed)',
        to: 'if (late && committed?.offset === -1) await this.#proveMembership(partition, committed)',
      },
    ],
  },
  {
    name: 'the stale run: a decision of an earlier run is accepted',
    edits: [
      {
        file: 'supervisors/outcomes.ts',
        from: 'if (mailbox === undefined || mailbox.run !== decision.run) return',
        to: 'if (mailbox === undefined) return',
      },
    ],
  },
  {
    name: 'the unfenced parked record: what is read back is committed without a look at its owner',
    edits: [
      {
        file: fence,
        from: compare,
        to: 'return last?.commitId === follows || (commit.outcomes.length > 0 && commit.outcomes.every((one) => one.partition !== place || one.row !== null)) ? [] : [place]',
      },
    ],
  },
  {
    name: 'parked records are read back before what an earlier owner left undone has come again',
    edits: [{ file: feedBack, from: ' || !partition.caughtUp) return', to: ') return' }],
  },
  {
    name: 'parked records are read back before those before them are there',
    edits: [{ file: feedBack, from: 'if (parked.barriers.size > 0) return', to: '' }],
  },
  {
    name: 'a tenant has caught up although a commit that parks is on its way',
    edits: [
      {
        file: feedBack,
        from: 'if (parked.leaving.size === 0) this.#join(mailbox, parked)',
        to: 'this.#join(mailbox, parked)',
      },
    ],
  },
  {
    name: 'new records overtake parked ones',
    edits: [{ file: parking, from: 'parked.addArrival(item)', to: 'mailbox.add(item)' }],
  },
  {
    name: 'parking forgets attempts',
    edits: [{ file: feedBack, from: 'item.attempts = attempts', to: 'item.attempts = Math.min(attempts, 0)' }],
  },
  {
    name: 'a parked record keeps its row after its outcome',
    edits: [{ file: feedBack, from: 'item.row = at', to: 'item.row = at.replays < 0 ? at : null' }],
  },
  {
    name: 'a lost worker closes a mailbox of which all is parked',
    edits: [
      {
        file: 'supervisors/outcomes.ts',
        from: 'if (mailbox.items.length === 0 && mailbox.parked === null) return this.close(mailbox)',
        to: 'if (mailbox.items.length === 0) return this.close(mailbox)',
      },
    ],
  },
  {
    name: 'a dead letter that was brought back counts as its own copy',
    edits: [
      {
        file: 'core/postgres/transactions.ts',
        from: 'return row?.holdsKey ? everWritten',
        to: 'return row?.holdsKey && row.replays < 0 ? everWritten',
      },
    ],
  },
  {
    name: 'a bad record that was brought back is no copy of its message, which came mended meanwhile',
    edits: [
      {
        file: 'core/postgres/transactions.ts',
        from: 'return row?.holdsKey ? everWritten',
        to: 'return row?.holdsKey || (row !== null && row.replays > 0) ? everWritten',
      },
    ],
  },
  {
    name: 'a worker knows a dead letter that was brought back as a copy',
    edits: [
      {
        file: 'supervisors/dispatcher.ts',
        from: 'const since = copySince(item)',
        to: 'const since = item.knownSince',
      },
    ],
  },
  {
    name: 'of what was brought back some comes before what was read past',
    // Found by about one schedule in 5,000.
    from: 9_900,
    edits: [
      { file: feedBack, from: 'if (!parked.inOrder(own)) {', to: 'if (!parked.inOrder(own) && !parked.replayed) {' },
    ],
  },
  {
    name: 'nobody looks for what was brought back',
    edits: [
      {
        file: 'supervisors/replays.ts',
        from: "if (partition?.phase === 'owned') found(",
        to: "if (partition?.phase === 'claiming') found(",
      },
    ],
  },
  {
    name: 'what was brought back is counted among the rows that wait',
    edits: [{ file: feedBack, from: 'if (at.replays === 0) {', to: 'if (at.replays >= 0) {' }],
  },
  {
    name: 'attempts begin anew with each owner',
    edits: [
      {
        file: partition,
        from: 'for (const retry of ownership.retries) this.#retries.set(retry.offset, retry)',
        to: '',
      },
    ],
  },
  {
    name: 'failed attempts are kept for ever',
    edits: [
      {
        file: 'supervisors/outcomes.ts',
        from: 'if (item.row === null) item.retried = true',
        to: 'if (item.row === null) item.retried = false',
      },
    ],
  },
  {
    name: 'a message is blamed for a table that its worker was not told of',
    edits: [
      {
        file: 'supervisors/judgement.ts',
        from: 'before !== null && tables.lookedAt > before.since && mailbox.runningSince > tables.toldAt',
        to: 'before?.since !== undefined',
      },
    ],
  },
  {
    name: 'a dependency that is away counts as an attempt',
    edits: [
      {
        file: 'supervisors/dependencies.ts',
        from: 'repeat(mailbox, item, failed, item.attempts, delayMs)',
        to: 'repeat(mailbox, item, failed, item.attempts + 1, delayMs)',
      },
    ],
  },
  {
    name: 'two tenants probe a shared breaker at once',
    edits: [
      {
        file: 'supervisors/shared-breaker.ts',
        from: 'return this.#probe?.member === member',
        to: 'return this.#probe !== null && member.pending',
      },
    ],
  },
  {
    name: 'a probe of a tenant is more than one record',
    edits: [
      {
        file: 'supervisors/mailbox.ts',
        from: 'if (this.probing && this.inFlightCount > 0) return false',
        to: '',
      },
    ],
  },
  {
    name: 'a breaker keeps its tenant for ever',
    edits: [
      {
        file: 'supervisors/breakers.ts',
        from: "if (mailbox.waiting === 'dependency') this.#host.mayGo(mailbox)",
        to: '',
      },
    ],
  },
  {
    name: "a reset is no commit to follow: a late one of the old owner's lands",
    edits: [
      {
        file: 'test/simulation/operator.ts',
        from: 'seq: last.seq + 1, commitId: `operator ${since}`,',
        to: 'seq: last.seq + 1,',
      },
    ],
  },
  {
    name: 'what is to run again is a copy of itself',
    edits: [
      {
        file: partition,
        from: 'item.knownSince = this.#rerun.since',
        to: 'item.knownSince = null',
      },
    ],
  },
  {
    name: 'what was parked while it was to run again is a copy of itself',
    edits: [{ file: feedBack, from: 'item.knownSince = knownSince', to: 'item.knownSince = knownSince && null' }],
  },
  {
    name: 'copies run again beside their original',
    edits: [{ file: partition, from: 'item.knownSince = this.#rerun.since', to: "item.knownSince = 'Infinity'" }],
  },
  {
    name: 'what is to run again has no end',
    edits: [{ file: partition, from: 'item.record.offset < this.#rerun.to', to: 'item.record.offset >= 0' }],
  },
  {
    name: "nobody hears an operator's word about a partition that has stopped",
    edits: [
      {
        file: 'supervisors/stopped-partitions.ts',
        from: 'if (stopped.length === 0) return',
        to: 'if (stopped.length >= 0) return',
      },
    ],
  },
  {
    name: 'the fence compares nothing',
    edits: [{ file: fence, from: compare, to: 'return follows.length + (last?.seq ?? 0) >= 0 ? [] : [place]' }],
  },
  {
    name: 'the fence takes no lock',
    edits: [
      {
        file: fence,
        from: 'locks: () => [...new Set(commit.partitions.map(({ ref }) => `partition ${refKey(ref)}`))].sort(),',
        to: 'locks: none,',
      },
    ],
  },
  {
    name: "Kafka's offset runs ahead of the watermark",
    edits: [
      {
        file: 'supervisors/offset-writer.ts',
        from: 'offset: progress.watermark })',
        to: 'offset: progress.watermark + 1 })',
      },
    ],
  },
  {
    name: 'what rests on a duplicate keeps its state',
    edits: [
      {
        file: 'supervisors/committer.ts',
        from: 'if (decided && !decided.dropped && decided.mailbox.actor.stateful) this.#host.takeBackAfter(decided)',
        to: '',
      },
    ],
  },
  {
    name: 'halves of a commit go in the wrong order',
    edits: [
      {
        file: 'supervisors/bisection.ts',
        from: '{ batch: batch.slice(0, middle), doubted }, { batch: batch.slice(middle), doubted }',
        to: '{ batch: batch.slice(middle), doubted }, { batch: batch.slice(0, middle), doubted }',
      },
    ],
  },
  {
    name: 'what is done ahead of the watermark runs again',
    edits: [
      {
        file: 'supervisors/router.ts',
        from: 'if (record.offset < partition.aheadEnd && partition.progress.has(record.offset)) {',
        to: 'if (record.offset < 0) {',
      },
    ],
  },
  {
    name: 'a lost worker loses what it had',
    edits: [
      {
        file: 'supervisors/losses.ts',
        from: 'if (!givenUp.has(mailbox)) outcomes.moveOn(mailbox)',
        to: 'if (givenUp.has(mailbox)) outcomes.moveOn(mailbox)',
      },
    ],
  },
  {
    name: 'suspects are not isolated: they run on the extra thread together',
    edits: [
      {
        file: 'supervisors/dispatcher.ts',
        from: '{ up: false, most: 1, quantum: 1 }),\n      credit: new WorkerCredit(worker < workers.count ? credit : 1, bytes),',
        to: '{ up: false, most: quantum, quantum }),\n      credit: new WorkerCredit(credit, bytes),',
      },
    ],
  },
  {
    name: 'suspects run among the others again',
    edits: [
      {
        file: 'supervisors/dispatcher.ts',
        from: 'if (this.#quarantine.holds(mailbox)) return extra',
        to: '',
      },
    ],
  },
  {
    name: 'crashes are counted on from one record to the next',
    edits: [
      {
        file: 'supervisors/quarantine.ts',
        from: 'isolated.crashes = isolated.crashed === offset ? isolated.crashes + 1 : 1',
        to: 'isolated.crashes++',
      },
    ],
  },
  {
    name: 'a record runs alone before that is written down',
    edits: [
      {
        file: 'supervisors/lone-runs.ts',
        from: 'ours = await ledger.runAlone(partition.ref, partition.epoch, record)',
        to: 'void ledger.runAlone(partition.ref, partition.epoch, record).catch(() => {})',
      },
    ],
  },
  {
    name: 'a record that has cost so many owners runs again',
    edits: [{ file: 'supervisors/lone-runs.ts', from: 'if (owners >= suspectLimit) {', to: 'if (owners > 1_000) {' }],
  },
  {
    name: 'what is committed goes out before what the table still has',
    edits: [
      {
        file: 'supervisors/outbox-feed.ts',
        from: 'if (!this.behind && room) return',
        to: 'if (room) return',
      },
    ],
  },
  {
    name: 'a takeover reads one page of what is unpublished',
    edits: [{ file: 'supervisors/outbox-feed.ts', from: 'if (page.more > 0) {', to: 'if (page.more < 0) {' }],
  },
  {
    name: 'what has gone out keeps its place in what memory may hold of its group',
    edits: [
      {
        file: 'supervisors/outbox-publisher.ts',
        from: 'this.#room.count(pending.feed.partition, -1, -pending.bytes)',
        to: 'this.#room.count(pending.feed.partition, 0, 0)',
      },
    ],
  },
  {
    name: 'messages to other topics overtake those to a topic that is away',
    edits: [
      {
        file: 'supervisors/outbox-sends.ts',
        from: 'if (tenant.held) continue\n    tenant.held = ',
        to: 'tenant.held = ',
      },
    ],
  },
  {
    name: 'a dead letter goes out only after a takeover',
    edits: [
      {
        file: 'supervisors/completer.ts',
        from: 'outboxRows(commit, settings.deadLetterTopic)',
        to: 'outboxRows(commit, null)',
      },
    ],
  },
  {
    name: 'a dead letter has no number of its own',
    edits: [
      {
        file: 'core/postgres/outbox-rows.ts',
        from: 'places.set(outcome.partition, index + 1)',
        to: 'if (deadLetterOf === null) places.set(outcome.partition, index + 1)',
      },
    ],
  },
  {
    name: 'a copy is known by what a run had done that was taken back',
    edits: [
      { file: 'test/simulation/simulated-workers.ts', from: 'ids: new Set(),', to: 'ids: box?.ids ?? new Set(),' },
      {
        file: 'test/simulation/simulated-workers.ts',
        from: 'for (const id of mailboxes) thread.boxes.delete(id)',
        to: 'if (mailboxes.length === 0) thread.boxes.clear()',
      },
    ],
  },
  {
    name: 'who holds the watermark of a quiet partition is not parked',
    edits: [
      {
        file: parking,
        from: 'return oldest !== undefined && oldest.record.offset < progress.end',
        to: 'return oldest !== undefined && oldest.record.offset < 0',
      },
    ],
  },
  {
    name: 'memory is given up only past a mark',
    edits: [
      {
        file: 'supervisors/intake.ts',
        from: 'return this.#overBudget || this.used >= shortAt',
        to: 'return this.used >= shortAt',
      },
    ],
  },
]
