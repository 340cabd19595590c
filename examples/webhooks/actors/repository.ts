import { defineActor } from 'tenantry'
import { z } from 'zod'
import { kinds, topic } from '../recorded.ts'

const event = z.looseObject({ action: z.string().optional(), sender: z.object({ login: z.string() }).optional() })

/** What the handler is given of a kind: what all have in common, and a summary of the `parts` that only this one has. */
function delivery<T>(parts: z.ZodType<T>, summaryOf: (parts: T) => string) {
  return event
    .and(parts)
    .transform((all) => ({ action: all.action, sender: all.sender?.login, summary: summaryOf(all) }))
}

const titled = z.object({ number: z.number().int(), title: z.string() })

/** The kinds that matter here; the others pass as they are. */
const known = {
  'github.push': delivery(
    z.object({ ref: z.string(), commits: z.array(z.object({ id: z.string(), message: z.string() })) }),
    ({ ref, commits }) => `${commits.length} commits to ${ref}`,
  ),
  'github.issues': delivery(z.object({ issue: titled }), ({ issue }) => `#${issue.number} ${issue.title}`),
  'github.pull_request': delivery(
    z.object({ pull_request: titled.extend({ merged: z.boolean().nullable() }) }),
    ({ pull_request: pull }) => `#${pull.number} ${pull.title}${pull.merged === true ? ' (merged)' : ''}`,
  ),
  'github.release': delivery(
    z.object({ release: z.object({ tag_name: z.string(), draft: z.boolean() }) }),
    ({ release }) => release.tag_name,
  ),
}
const any = delivery(z.object({}), () => '')

/** One repository (or organisation, or user): keeps its deliveries in order and counts them by kind. */
export default defineActor({
  group: 'audit',
  topic,
  name: 'repository',
  tables: ['deliveries'],
  state: {
    version: 1,
    schema: z.object({ deliveries: z.number(), kinds: z.record(z.string(), z.number()) }),
    initial: { deliveries: 0, kinds: {} },
  },
  messages: {
    ...Object.fromEntries(kinds().map((kind) => [`github.${kind}`, any])),
    ...known,
  },
  receive({ message_id, type, payload }, ctx) {
    const kind = type.slice('github.'.length)
    ctx.state.deliveries += 1
    ctx.state.kinds[kind] = (ctx.state.kinds[kind] ?? 0) + 1
    ctx.insert('deliveries', {
      message_id,
      number: ctx.state.deliveries,
      kind,
      action: payload.action ?? null,
      sender: payload.sender ?? null,
      summary: payload.summary,
    })
  },
})
