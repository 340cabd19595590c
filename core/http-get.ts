import { Agent, get } from 'node:http'
import { Agent as SecureAgent, get as getSecurely } from 'node:https'
import { errorOf } from './errors.ts'

/**
 * What a daemon answers. Not by `fetch`, which on Bun, and on Node where it is told to, asks the proxy that the environment
 * names even for an address of this machine. Follows no redirect. Rejects without a whole answer within `timeoutMs`, with
 * a TimeoutError.
 */
export function httpGet(url: string, timeoutMs: number): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs)
    const failed = (error: unknown) => reject(errorOf(signal.aborted ? signal.reason : error))
    const secure = url.startsWith('https:')
    const request = (secure ? getSecurely : get)(
      url,
      { agent: secure ? new SecureAgent() : new Agent(), signal },
      (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.once('error', failed)
        answer.once('end', () =>
          resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        )
      },
    )
    request.once('error', failed)
  })
}
