import { Admin } from '@platformatic/kafka'
import type { Ground } from './fault.ts'

/** Asks or changes something of the cluster, straight at the brokers. */
export async function withAdmin<T>({ site }: Ground, work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Admin({ clientId: 'chaos', bootstrapBrokers: site.services.kafkaAddress.split(',') })
  try {
    return await work(admin)
  } finally {
    await admin.close()
  }
}
