import { freePorts } from '../../cli/dev/ports.ts'
import { type Services, startServices } from '../../cli/dev/services.ts'
import { TcpProxy } from './tcp-proxy.ts'
import { WireProxy } from './wire-proxy.ts'

const brokers = 3

/** One client's way to Kafka. */
export type KafkaWay = {
  readonly kafka: readonly TcpProxy[]
  /** Bootstrap addresses; the brokers name the same proxies. */
  readonly brokers: string
}

/** One daemon's ways to the servers, each through proxies of its own. */
export type Link = KafkaWay & {
  readonly postgres: TcpProxy
  /** Before `postgres`, for what must happen at a moment of a commit. */
  wire?: WireProxy
}

/** A cluster of our own, as in production: three brokers, PostgreSQL, Redis; and ways to it that can be disturbed. */
export class Site {
  readonly services: Services
  readonly links: readonly Link[]

  private constructor(services: Services, links: readonly Link[]) {
    this.services = services
    this.links = links
  }

  static async open(dir: string, linkCount: number): Promise<Site> {
    const { ways, kafkaProxied } = await kafkaWays(linkCount)
    const services = await startServices({ dir, brokers, kafkaProxied })
    const { hostname, port } = new URL(services.postgresUrl)
    const links = await Promise.all(
      ways.map(async (way) => {
        const proxy = await TcpProxy.open()
        proxy.lead(hostname, Number(port))
        return { ...way, postgres: proxy }
      }),
    )
    return new Site(services, links)
  }

  /** A database's address by a link. */
  async database(link: Link, url: string): Promise<string> {
    const through = new URL(url)
    through.host = `127.0.0.1:${link.postgres.port}`
    link.wire ??= await WireProxy.before(through.href)
    return link.wire.url
  }

  /** Ends all of it, and removes its data. */
  async wipe(): Promise<void> {
    await this.services.wipe()
    await Promise.all(
      this.links.flatMap(({ kafka, postgres, wire }) =>
        [...kafka, postgres, ...(wire ? [wire] : [])].map((proxy) => proxy.close()),
      ),
    )
  }
}

/** Ways to three brokers that are still to be started, with `kafkaProxied`. */
export async function kafkaWays(count: number) {
  const ports = await freePorts(brokers * count)
  const ways: KafkaWay[] = []
  for (let i = 0; i < count; i++) {
    const kafka = await Promise.all(Array.from({ length: brokers }, () => TcpProxy.open()))
    ways.push({ kafka, brokers: kafka.map(({ port }) => `127.0.0.1:${port}`).join(',') })
  }
  const kafkaProxied = Array.from({ length: brokers }, (_, broker) =>
    ways.map(({ kafka }, way) => {
      const [proxy, port] = [kafka[broker], ports[broker * count + way]]
      if (proxy === undefined || port === undefined) throw new Error('there are no free ports for the brokers')
      proxy.lead('127.0.0.1', port)
      return { port, advertisedPort: proxy.port }
    }),
  )
  return { ways, kafkaProxied }
}
