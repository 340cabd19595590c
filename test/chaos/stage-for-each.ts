import { afterEach } from '../harness.ts'
import { Stage } from './stage.ts'

/** Gives a stage to each test of the file that asks, and ends it after the test. */
export function stageForEach(): () => Promise<Stage> {
  let open: Stage | undefined
  afterEach(async () => {
    await open?.end()
    open = undefined
  })
  return async () => {
    open = await Stage.create()
    return open
  }
}
