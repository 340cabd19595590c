import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { OutgoingMessage } from '../../core/kafka/producer.ts'

export const topic = 'github.webhooks.v1'

const named = z.looseObject({ full_name: z.string() })
const account = z.looseObject({ login: z.string() })
const event = z.looseObject({
  action: z.string().optional(),
  repository: named.nullish(),
  organization: account.nullish(),
  sender: account.nullish(),
})
const index = z.array(z.object({ name: z.string(), examples: z.array(z.unknown()) }))

/** One recorded webhook. */
export type Delivery = {
  readonly id: string
  readonly kind: string
  readonly tenant: string
  readonly action: string | null
  readonly json: string
}

/** The webhooks that GitHub documents: 329 of 58 kinds, up to 30 KB each. */
export function deliveries(): readonly Delivery[] {
  return recorded().flatMap(({ name, examples }) =>
    examples.map((example, place) => {
      const { action = null, repository, organization, sender } = event.parse(example)
      const json = JSON.stringify(example)
      const tenant = repository?.full_name ?? organization?.login ?? sender?.login ?? 'github'
      return { id: idOf(`${name} ${place} ${json}`), kind: name, tenant, action, json }
    }),
  )
}

export function kinds(): readonly string[] {
  return recorded().map(({ name }) => name)
}

export function messageOf({ id, kind, tenant, json }: Delivery): OutgoingMessage {
  const text = `{"message_id":"${id}","type":"github.${kind}","tenant_id":${JSON.stringify(tenant)},"payload":${json}}`
  return { topic, key: Buffer.from(tenant), value: Buffer.from(text), headers: [] }
}

function recorded(): z.infer<typeof index> {
  const file = new URL('../../node_modules/@octokit/webhooks-examples/api.github.com/index.json', import.meta.url)
  return index.parse(JSON.parse(readFileSync(file, 'utf8')))
}

/** The recordings have lost their delivery ids. */
function idOf(text: string): string {
  const hex = hash('sha256', text, 'hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
