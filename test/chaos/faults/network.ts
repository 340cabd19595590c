import { type Fault, type Ground, last, lastBetween, seconds } from '../fault.ts'
import { moments } from '../conversation.ts'
import type { Link } from '../site.ts'
import type { TcpProxy, Weather } from '../tcp-proxy.ts'

/** What happens between daemons and servers, to one daemon or to all that come by proxies. */
export const networkFaults: readonly Fault[] = [
  {
    name: 'network-cut',
    area: 'network',
    about: 'every connection to PostgreSQL or Kafka ended, and new ones refused for up to 8 s',
    weight: 2,
    strike: (ground) => weather(ground, () => ({ kind: 'refusing' }), 0, 8_000),
  },
  {
    name: 'network-slow',
    area: 'network',
    about: '200 ms more in each direction for up to 10 s',
    strike: (ground) => weather(ground, () => ({ kind: 'slow', delayMs: 200 }), 3_000, 10_000),
  },
  {
    name: 'network-lossy',
    area: 'network',
    about: 'one piece in twenty held up, and one in a thousand the last of its connection, for up to 10 s',
    strike: (ground) => weather(ground, () => ({ kind: 'lossy', chance: () => ground.random.next() }), 3_000, 10_000),
  },
  {
    name: 'network-held',
    area: 'network',
    about: 'nothing gets through for up to 15 s, then all of it does: a cable pulled and put back',
    weight: 2,
    strike: (ground) => weather(ground, () => ({ kind: 'held', direction: 'both' }), 1_000, 15_000),
  },
  {
    name: 'answers-held',
    area: 'network',
    about: 'what daemons ask arrives, and no answer does, for up to 15 s',
    weight: 2,
    strike: (ground) => weather(ground, () => ({ kind: 'held', direction: 'answers' }), 1_000, 15_000),
  },
  {
    name: 'connections-forgotten',
    area: 'network',
    about: 'every connection stays open and never brings anything again; new ones work: a firewall that lost its table',
    weight: 2,
    async strike(ground) {
      const { proxies, what } = victims(ground)
      for (const proxy of proxies) proxy.deaden()
      await last(ground, 100)
      return what
    },
  },
  {
    name: 'commits-cut',
    area: 'network',
    about: `a lane's connection ended ${moments.join(', ')}`,
    weight: 2,
    async strike(ground) {
      const link = ground.random.any(ground.crew.members.flatMap(({ post }) => post.link ?? []))
      const { wire } = link ?? {}
      if (wire === undefined) return 'nobody comes by a proxy'
      const done: string[] = []
      for (const moment of moments) {
        try {
          await wire.reached(moment, 5_000)
          done.push(moment)
        } catch {
          // nobody commits through it just now
        }
        wire.cut()
        await lastBetween(ground, 0, 500)
      }
      return done.join(', ')
    },
  },
]

async function weather(ground: Ground, of: () => Weather, least: number, most: number): Promise<string> {
  const { proxies, what } = victims(ground)
  for (const proxy of proxies) proxy.weather = of()
  const ms = await lastBetween(ground, least, most)
  for (const proxy of proxies) proxy.weather = { kind: 'fair' }
  return `${what} for ${seconds(ms)}`
}

/** One daemon's ways or everybody's; to PostgreSQL, to Kafka, or to both. */
function victims({ crew, random }: Ground): { readonly proxies: readonly TcpProxy[]; readonly what: string } {
  const members = crew.members.filter(({ post }) => post.link !== undefined)
  const one = random.chance(0.5) ? random.any(members) : undefined
  const to = random.pick(['PostgreSQL', 'Kafka', 'PostgreSQL and Kafka'] as const)
  const of = ({ kafka, postgres }: Link) => [
    ...(to === 'PostgreSQL' ? [] : kafka),
    ...(to === 'Kafka' ? [] : [postgres]),
  ]
  const proxies = (one === undefined ? members : [one]).flatMap(({ post }) => (post.link ? of(post.link) : []))
  return { proxies, what: `${one?.post.name ?? 'all'} and ${to}` }
}
