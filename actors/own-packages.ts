// The whole of it: Bun's has no registerHooks, and would not load this file for its name.
import nodeModule from 'node:module'

/** What an actor's file may import although its folder has nothing installed. */
const own = /^(?:tenantry|zod)(?:\/|$)/
let offered = false

/**
 * Has an actor's `import … from 'tenantry'`, and from the zod that the documentation uses, find this tenantry's where its
 * folder has none of its own: it may lie anywhere. For all of this thread; Node only, as Bun has no such hook.
 */
export function offerOwnPackages(): void {
  if (offered || process.versions['bun'] !== undefined) return
  offered = true
  nodeModule.registerHooks({
    resolve(specifier, context, next) {
      try {
        return next(specifier, context)
      } catch (error) {
        if (!own.test(specifier)) throw error
        return next(specifier, { ...context, parentURL: import.meta.url })
      }
    },
  })
}
