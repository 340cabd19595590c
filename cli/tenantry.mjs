#!/usr/bin/env node
// The program as it is installed. Plain JavaScript, as a Node that is too old cannot read the rest, and could not say so.
import { runtimeProblem } from '../tools/setup/versions.mjs'

const errorCode = 'TENANTRY_RUNTIME_VERSION'
const problem = runtimeProblem(process.versions)
if (problem === undefined) await import('./main.ts')
else {
  process.stderr.write(`${problem} (${errorCode})\n`)
  process.exitCode = 7
}
