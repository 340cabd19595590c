import type { Facts } from '../core/errors.ts'
import type { ActorFacts } from './topology.ts'

/** What the thread says that loads actors only to know them. */
export type FromLoading =
  | { readonly kind: 'began'; readonly file: string }
  | { readonly kind: 'loaded'; readonly actors: readonly ActorFacts[] }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string; readonly facts: Facts }
