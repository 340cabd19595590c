import { type Fault, lastBetween, seconds } from '../fault.ts'

/** What happens to Redis. */
export const redisFaults: readonly Fault[] = [
  {
    name: 'redis-away',
    area: 'redis',
    about: 'SIGKILL of Redis, started again after up to 10 s',
    async strike(ground) {
      await ground.site.services.redis.kill()
      const ms = await lastBetween(ground, 1_000, 10_000)
      await ground.site.services.redis.start()
      return `away for ${seconds(ms)}`
    },
  },
  {
    name: 'redis-frozen',
    area: 'redis',
    about: 'SIGSTOP of Redis for up to 10 s',
    async strike(ground) {
      ground.site.services.redis.pause()
      const ms = await lastBetween(ground, 1_000, 10_000)
      ground.site.services.redis.resume()
      return `for ${seconds(ms)}`
    },
  },
]
