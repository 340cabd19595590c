// Which runtimes are new enough. Must parse on Node 18 and older: it is what says so there.

/** Whether a Node runs TypeScript as it is and every driver: 22.22 and up, 24.6 and up, and all newer ones. */
export function isNewEnough(version) {
  const [major, minor] = numbersOf(version)
  return (major === 22 && minor >= 22) || (major === 24 && minor >= 6) || major >= 25
}

/** What is wrong with the runtime of these `process.versions`, and what to do; undefined when nothing is. */
export function runtimeProblem({ node, bun }) {
  if (bun !== undefined) {
    const [major, minor] = numbersOf(bun)
    if (major > 1 || (major === 1 && minor >= 4)) return undefined
    return `tenantry needs Bun 1.4 or later, and this is ${bun}: upgrade it.`
  }
  if (isNewEnough(node)) return undefined
  return `tenantry needs Node 22.22 or later, or 24.6 or later, and this is ${node}: upgrade it, or start by "npm run -s tenantry --", which brings its own.`
}

function numbersOf(version) {
  return version.replace(/^v/, '').split('.').map(Number)
}
