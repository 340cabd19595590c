import * as assert from 'uvu/assert'
import { Crew } from '../../bench/crew.ts'
import { disturb } from '../../bench/disturb.ts'
import type { Subject } from '../../bench/subject.ts'
import { test } from '../harness.ts'

/** A member that does nothing, and remembers how it was ended. */
class Idle implements Subject {
  readonly pids: readonly number[]
  readonly folders: readonly string[]
  readonly startedAt = 5
  readonly ended: Promise<never>
  how = 'runs'
  fail: (error: unknown) => void = () => {}

  constructor(n: number) {
    this.pids = [n]
    this.folders = [`folder ${n}`]
    this.ended = new Promise<never>((_, reject) => {
      this.fail = reject
    })
    this.ended.catch(() => {})
  }

  readyAt() {
    return 6
  }

  async done() {
    return { records: this.pids[0] ?? 0, at: 7 }
  }

  async stop() {
    this.how = 'stopped'
  }

  async kill() {
    if (this.how === 'runs') this.how = 'killed'
  }

  logEnd() {
    return `log ${this.pids[0]}`
  }
}

function launcher() {
  const all: Idle[] = []
  const launch = () => {
    const member = new Idle(all.length + 1)
    all.push(member)
    return member
  }
  return { all, launch }
}

test('a crew begins with one member, ends its members one by one, and has those last that run', async () => {
  const { all, launch } = launcher()
  const crew = await Crew.of(launch)
  const second = await crew.join()
  await crew.join()
  assert.is(crew.first, all[0])
  await crew.lose(crew.first)
  await crew.leave(second)
  assert.equal([crew.running.flatMap(({ pids }) => pids), crew.pids], [[3], [1, 2, 3]])
  await crew.join()
  await crew.lose(crew.running[1] ?? second)
  assert.equal(crew.pids, [1, 2, 4, 3])
  assert.is(crew.logEnd(), 'log 3')
  await crew.stop()
  assert.equal(
    all.map(({ how }) => how),
    ['killed', 'stopped', 'stopped', 'killed'],
  )
  assert.equal(crew.folders, ['folder 1', 'folder 2', 'folder 3', 'folder 4'])
})

test('the first member of a crew says what is done, unless it is counted', async () => {
  const crew = await Crew.of(launcher().launch)
  await crew.join()
  await crew.lose(crew.first)
  assert.equal(await crew.done(), { records: 1, at: 7 })
  assert.is((await (await Crew.of(launcher().launch, async () => 99)).done()).records, 99)
})

test('a member that ends by itself ends what is waited for', async () => {
  const { all, launch } = launcher()
  const crew = await Crew.of(launch)
  await crew.join()
  all[1]?.fail(new Error('planted'))
  await crew.while(new Promise(() => {})).then(
    () => assert.unreachable(),
    (error: unknown) => assert.match(String(error), 'planted'),
  )
})

test('a disturbed crew loses two members, each with another in its place, and a third joins and leaves', async () => {
  const { all, launch } = launcher()
  const crew = await Crew.of<Subject>(launch)
  const way: string[] = []
  const reach = async (records: number) => {
    way.push(`${records}: ${all.map(({ how }) => how).join(' ')}`)
  }
  assert.equal(await disturb(crew, 10, reach), { kills: 2, joined: true })
  assert.equal(way, [
    '2: runs',
    '4: killed runs',
    '6: killed killed runs',
    '8: killed killed runs runs',
    '10: killed killed runs stopped',
  ])
})
