import { defineActor } from 'tenantry'
import { z } from 'zod'
import { kinds, topic } from '../recorded.ts'

const user = z.object({ login: z.string() })
const any = z.looseObject({ action: z.string().optional(), sender: user.optional() })
const titled = z.object({ number: z.number().int(), title: z.string() })

/** What is read out of the kinds that matter here; the others pass as they are. */
const known = {
  push: any.extend({ ref: z.string(), commits: z.array(z.object({ id: z.string(), message: z.string() })) }),
  issues: any.extend({ issue: titled }),
  pull_request: any.extend({ pull_request: titled.extend({ merged: z.boolean().nullable() }) }),
  release: any.extend({ release: z.object({ tag_name: z.string(), draft: z.boolean() }) }),
}

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
    'github.push': known.push,
    'github.issues': known.issues,
    'github.pull_request': known.pull_request,
    'github.release': known.release,
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
      sender: payload.sender?.login ?? null,
      summary: summaryOf(kind, payload),
    })
  },
})

function summaryOf(kind: string, payload: unknown): string {
  const push = kind === 'push' ? known.push.safeParse(payload).data : undefined
  if (push !== undefined) return `${push.commits.length} commits to ${push.ref}`
  const issue = kind === 'issues' ? known.issues.safeParse(payload).data?.issue : undefined
  if (issue !== undefined) return `#${issue.number} ${issue.title}`
  const pull = kind === 'pull_request' ? known.pull_request.safeParse(payload).data?.pull_request : undefined
  if (pull !== undefined) return `#${pull.number} ${pull.title}${pull.merged === true ? ' (merged)' : ''}`
  return kind === 'release' ? (known.release.safeParse(payload).data?.release.tag_name ?? '') : ''
}
