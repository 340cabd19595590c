import { javascriptPeers } from './javascript.ts'
import { javaPeers } from './java.ts'
import type { Peer } from './peer.ts'

/** Everybody that tenantry is measured beside. */
export const peers: readonly Peer[] = [...javascriptPeers, ...javaPeers]
