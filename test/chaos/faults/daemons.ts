import { type Fault, last, lastBetween, seconds, someone } from '../fault.ts'
import { sessionMs } from '../configuration.ts'

/** What happens to daemons as processes. */
export const daemonFaults: readonly Fault[] = [
  {
    name: 'daemon-killed',
    area: 'daemons',
    about: 'SIGKILL of one daemon, started again within seconds',
    weight: 3,
    async strike(ground) {
      const victim = someone(ground)
      if (victim === undefined) return 'nobody runs'
      await ground.crew.kill(victim)
      await lastBetween(ground, 0, 4_000)
      await ground.crew.start(victim)
      return victim.post.name
    },
  },
  {
    name: 'daemons-killed',
    area: 'daemons',
    about: 'SIGKILL of all daemons at once, started again one after the other',
    async strike(ground) {
      await Promise.all(ground.crew.members.map((member) => ground.crew.kill(member)))
      for (const member of ground.crew.members) {
        await lastBetween(ground, 0, 1_000)
        await ground.crew.start(member)
      }
      return `all ${ground.crew.members.length}`
    },
  },
  {
    name: 'daemon-frozen',
    area: 'daemons',
    about: 'SIGSTOP of one daemon past its session, then SIGCONT: a zombie that believes it owns its partitions',
    weight: 2,
    async strike(ground) {
      const victim = someone(ground)
      if (victim === undefined) return 'nobody runs'
      ground.crew.freeze(victim)
      const ms = await lastBetween(ground, sessionMs + 1_000, 3 * sessionMs)
      ground.crew.thaw(victim)
      return `${victim.post.name} for ${seconds(ms)}`
    },
  },
  {
    name: 'daemon-hiccups',
    area: 'daemons',
    about: 'SIGSTOP of one daemon for 50 to 300 ms, over and over: short of everything, and out of nothing',
    async strike(ground) {
      const victim = someone(ground)
      if (victim === undefined) return 'nobody runs'
      const times = ground.random.between(10, 20)
      for (let i = 0; i < times && !ground.signal.aborted; i++) {
        victim.running?.signal('SIGSTOP')
        await lastBetween(ground, 50, 300)
        victim.running?.signal('SIGCONT')
        await last(ground, 100)
      }
      return `${victim.post.name} ${times} times`
    },
  },
  {
    name: 'daemon-told',
    area: 'daemons',
    about: 'SIGTERM of one daemon, which must drain and end with 0, and a start',
    weight: 2,
    async strike(ground) {
      const victim = someone(ground)
      if (victim === undefined) return 'nobody runs'
      await ground.crew.dismiss(victim)
      await lastBetween(ground, 0, 2_000)
      await ground.crew.start(victim)
      return victim.post.name
    },
  },
  {
    name: 'daemons-rolled',
    area: 'daemons',
    about: 'SIGTERM and start of one daemon after the other, without a pause',
    async strike(ground) {
      for (const member of ground.crew.members) {
        if (ground.signal.aborted) break
        await ground.crew.dismiss(member)
        await ground.crew.start(member)
      }
      return `all ${ground.crew.members.length}`
    },
  },
]
