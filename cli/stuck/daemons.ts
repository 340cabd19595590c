import { codeOf, messageOf } from '../../core/errors.ts'
import { httpGet } from '../../core/http-get.ts'
import { type StuckQuery, type StuckReport, stuckReport } from '../../core/stuck-report.ts'

export type Answer = { readonly url: string; readonly report: StuckReport }
export type Silence = { readonly url: string; readonly reason: string }

const patienceMs = 5_000

/** What the daemons at these addresses say, and why those that say nothing do not. */
export async function askDaemons(
  urls: readonly string[],
  query: StuckQuery,
): Promise<{ readonly daemons: readonly Answer[]; readonly silent: readonly Silence[] }> {
  const daemons: Answer[] = []
  const silent: Silence[] = []
  await Promise.all(
    urls.map(async (url) => {
      try {
        daemons.push({ url, report: await ask(url, query) })
      } catch (error) {
        silent.push({ url, reason: reasonOf(error) })
      }
    }),
  )
  const inOrder = (a: { readonly url: string }, b: { readonly url: string }) =>
    urls.indexOf(a.url) - urls.indexOf(b.url)
  return { daemons: daemons.sort(inOrder), silent: silent.sort(inOrder) }
}

async function ask(url: string, query: StuckQuery): Promise<StuckReport> {
  const params = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) params.set(name, String(value))
  const { status, text } = await httpGet(`${url}/stuck?${params.toString()}`, patienceMs)
  if (status === 421) throw new Error('it does not take this name: give its IP address, or see http.allowedHosts')
  if (status !== 200) throw new Error(`whoever is there answers ${status}`)
  const read = stuckReport.safeParse(jsonOf(text))
  if (!read.success) throw new Error('whoever is there is no tenantry daemon, or one of another version')
  return read.data
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError') return `no answer within ${patienceMs / 1_000} s`
  const known: Readonly<Record<string, string>> = {
    ECONNREFUSED: 'nobody listens there',
    ENOTFOUND: 'there is no such host',
  }
  return known[codeOf(error)] ?? messageOf(error)
}
