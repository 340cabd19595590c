import { DaemonProcess } from '../../tools/run/daemon-process.ts'
import { messageOf } from '../../core/errors.ts'
import { eventually } from '../services.ts'

/** A daemon that can be waited for. */
export class Daemon extends DaemonProcess {
  /** Resolves when its log has the event `count` times. */
  async until(name: string, count = 1, deadlineMs = 60_000): Promise<void> {
    const there = () => {
      if (!this.running && this.events(name).length < count) throw new Error('it ended')
      return this.events(name).length >= count
    }
    await eventually(there, { deadlineMs, what: `${count} x ${name} in a daemon's log` }).catch((error: unknown) => {
      throw new Error(`${messageOf(error)}; its end: ${this.logEnd()}`, { cause: error })
    })
  }
}
