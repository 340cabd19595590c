import { join } from 'node:path'
import { packageVersion } from '../machine.ts'
import { type Peer, workKinds } from './peer.ts'

/** A loop over a library's consumer; all of them do their work by the same code. */
function loop(name: string, library: string, file: string): Peer {
  return {
    name,
    runtime: 'node',
    library,
    works: workKinds,
    async command() {
      return { program: process.execPath, args: [join(import.meta.dirname, 'javascript', file)] }
    },
    versions: () => ({
      node: process.versions.node,
      [library]: packageVersion(library),
      postgres_client: packageVersion('postgres'),
    }),
  }
}

export const javascriptPeers: readonly Peer[] = [
  loop('kafkajs', 'kafkajs', 'kafkajs.ts'),
  loop('platformatic', '@platformatic/kafka', 'platformatic.ts'),
  loop('confluent', '@confluentinc/kafka-javascript', 'confluent.ts'),
]
