import { userInfo } from 'node:os'

/** Who runs this, by the machine's word. A container's user may have a number and no name. */
export function loginName(): string {
  try {
    return userInfo().username
  } catch {
    return 'unknown'
  }
}
