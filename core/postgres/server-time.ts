import type { Ask } from './control.ts'

/** What the server's clock says, in whole milliseconds since 1970. */
export async function serverTime(sql: Ask): Promise<number> {
  const [row] = await sql<[{ ms: number }]>`select floor(extract(epoch from clock_timestamp()) * 1000)::float8 as ms`
  return row.ms
}
