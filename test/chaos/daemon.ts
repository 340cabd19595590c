import { DaemonProcess } from '../../tools/run/daemon-process.ts'
import { eventually } from '../services.ts'

/** A daemon that can be waited for. */
export class Daemon extends DaemonProcess {
  /** Resolves when its log has the event `count` times. */
  async until(name: string, count = 1, deadlineMs = 60_000): Promise<void> {
    await eventually(
      () => {
        if (!this.running && this.events(name).length < count) throw new Error(`it ended: ${this.logEnd()}`)
        return this.events(name).length >= count
      },
      { deadlineMs, what: `${count} x ${name} in a daemon's log (its end: ${this.logEnd()})` },
    )
  }
}
