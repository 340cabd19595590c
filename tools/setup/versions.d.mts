/** What is wrong with the runtime of these `process.versions`, and what to do; undefined when nothing is. */
export function runtimeProblem(versions: { readonly node?: string; readonly bun?: string }): string | undefined
