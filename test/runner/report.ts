import { z } from 'zod'

/** The environment variable that names the file into which a test file's process writes its report. */
export const REPORT_FILE = 'TENANTRY_TEST_REPORT'

export const reportSchema = z.object({
  total: z.number(),
  passed: z.number(),
  failed: z.number(),
  skipped: z.number(),
  /** Whether `test.only` left tests out. */
  only: z.boolean(),
  failures: z.array(z.object({ name: z.string(), message: z.string() })),
})

/** What a test file says about itself once it has run to its end. Without one, it has not. */
export type Report = z.infer<typeof reportSchema>
