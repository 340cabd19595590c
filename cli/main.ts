import { enableCompileCache } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'

// Compiling is half of a short command's time, and 0.3 s of the daemon's start. The cache is the user's own, not the
// shared one in /tmp; where it cannot be written there is none. Everything else is loaded after it.
if (process.versions['bun'] === undefined) {
  enableCompileCache(join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'tenantry', 'compiled'))
}
const { runCommandLine } = await import('./command-line.ts')
await runCommandLine()
