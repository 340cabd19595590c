import { type InspectorNotification, type NodeWorker, Session } from 'node:inspector'
import { z } from 'zod'
import { type Clock, sleep } from '../core/clock.ts'

/** How long a thread is watched, once it has begun with that. */
const watchMs = 200
/** How long all is waited for: to begin takes a thread some tenths of a second, and one that cannot be asked never answers. */
const patienceMs = 3_000

const frame = z.object({ functionName: z.string(), url: z.string(), lineNumber: z.int() })
const profile = z.object({
  nodes: z.array(
    z.object({
      id: z.int(),
      callFrame: frame,
      hitCount: z.int().optional(),
      children: z.array(z.int()).optional(),
      positionTicks: z.array(z.object({ line: z.int(), ticks: z.int() })).optional(),
    }),
  ),
})
const answer = z.object({ id: z.int(), result: z.object({ profile: profile.optional() }) })

/** Questions, by the number that their answers bear. */
const [enabling, setting, starting, stopping] = [1, 2, 3, 4]

export type Profile = z.infer<typeof profile>

/**
 * Where these threads' code is, by thread id, the innermost frame first: what a profiler saw most often for a moment. It
 * reaches a thread in an endless loop, because the runtime interrupts it, and stops none. A thread that waits in a call of
 * the operating system's (`execSync`) cannot be interrupted and is left out, as all are on Bun, which has no such thing.
 */
export async function stacksOf(
  threadIds: ReadonlySet<number>,
  clock: Clock,
): Promise<ReadonlyMap<number, readonly string[]>> {
  const stacks = new Map<number, readonly string[]>()
  if (threadIds.size === 0 || process.versions['bun'] !== undefined) return stacks
  const session = new Session()
  session.connect()
  try {
    await watch(session, threadIds, clock, stacks)
  } finally {
    session.disconnect()
  }
  return stacks
}

async function watch(
  session: Session,
  threadIds: ReadonlySet<number>,
  clock: Clock,
  stacks: Map<number, readonly string[]>,
): Promise<void> {
  const { promise: all, resolve: done } = Promise.withResolvers<void>()
  let open = true
  /** Thread ids by the inspector's own name for its connection. */
  const watched = new Map<string, number>()
  const tell = (sessionId: string, id: number, method: string, params = {}) =>
    session.post('NodeWorker.sendMessageToWorker', { sessionId, message: JSON.stringify({ id, method, params }) })
  session.on(
    'NodeWorker.attachedToWorker',
    ({ params }: InspectorNotification<NodeWorker.AttachedToWorkerEventDataType>) => {
      const { sessionId, workerInfo } = params
      const threadId = Number(/^\[worker (\d+)\]/.exec(workerInfo.title)?.[1])
      if (!threadIds.has(threadId)) return
      watched.set(sessionId, threadId)
      tell(sessionId, enabling, 'Profiler.enable')
      tell(sessionId, setting, 'Profiler.setSamplingInterval', { interval: 1_000 })
      tell(sessionId, starting, 'Profiler.start')
    },
  )
  session.on(
    'NodeWorker.receivedMessageFromWorker',
    ({ params }: InspectorNotification<NodeWorker.ReceivedMessageFromWorkerEventDataType>) => {
      const { sessionId, message } = params
      const threadId = watched.get(sessionId)
      const read = answer.safeParse(JSON.parse(message))
      if (threadId === undefined || !read.success) return
      const { id, result } = read.data
      if (id === starting) clock.after(watchMs, () => open && tell(sessionId, stopping, 'Profiler.stop'))
      if (result.profile === undefined) return
      stacks.set(threadId, hottestOf(result.profile))
      if (stacks.size === threadIds.size) done()
    },
  )
  session.post('NodeWorker.enable', { waitForDebuggerOnStart: false })
  await Promise.race([all, sleep(clock, patienceMs)])
  open = false
  session.post('NodeWorker.disable')
}

/**
 * The stack that was met most often, as `name (file:line)`; empty when the thread did nothing. The innermost frame has the
 * line that was met most often, the others where their functions begin: what is inlined has no frame of its own.
 */
export function hottestOf({ nodes }: Profile): readonly string[] {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)))
  const [hottest] = nodes
    .filter(({ callFrame, hitCount = 0 }) => hitCount > 0 && !isRuntime(callFrame))
    .sort((a, b) => (b.hitCount ?? 0) - (a.hitCount ?? 0))
  const stack: string[] = []
  for (let node = hottest; node !== undefined; node = byId.get(parents.get(node.id) ?? -1)) {
    const { functionName, url, lineNumber } = node.callFrame
    if (isRuntime(node.callFrame)) continue
    const [tick] = node === hottest ? (node.positionTicks ?? []).toSorted((a, b) => b.ticks - a.ticks) : []
    stack.push(`${functionName === '' ? '(anonymous)' : functionName} (${url}:${tick?.line ?? lineNumber + 1})`)
  }
  return stack
}

/** `(root)`, `(idle)`, `(program)`, `(garbage collector)`: no function of anybody's. */
function isRuntime({ functionName, url }: z.infer<typeof frame>): boolean {
  return url === '' && functionName.startsWith('(')
}
