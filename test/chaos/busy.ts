import postgres from 'postgres'
import { type Ground, lastBetween } from './fault.ts'

/** Does something while the daemons have work that they cannot commit, where `held`; else just does it. */
export async function busy<T>(ground: Ground, held: boolean, work: () => Promise<T>): Promise<T> {
  if (!held) return work()
  const sql = postgres(ground.stage.database, { max: 1, onnotice() {} })
  try {
    const done = await sql.begin(async (tx) => {
      await tx`lock table effects in access exclusive mode`
      await lastBetween(ground, 500, 4_000)
      return { result: await work() }
    })
    return done.result
  } finally {
    await sql.end({ timeout: 1 })
  }
}
