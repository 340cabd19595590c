// A Redis server: the machine's own, else Debian's package unpacked into the checkout.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { unpacked, unpackDebian } from './debian.mjs'
import { onPath } from './paths.mjs'
import { step, SetupError } from './say.mjs'

const PACKAGES = ['redis-server', 'redis-tools', 'libjemalloc2', 'liblzf1', 'libatomic1']

export function redisReady() {
  return Boolean(onPath('redis-server') || onPath('valkey-server') || existsSync(join(unpacked, 'bin/redis-server')))
}

export async function ensureRedis() {
  if (redisReady()) return
  const had = await step('Redis (Debian package, not installed)', () => unpackDebian(PACKAGES, 'redis'))
  if (!had || !redisReady())
    throw new SetupError('No Redis server was found and none could be fetched: install redis-server, then run again.')
}
