export function run(
  command: string,
  args: readonly string[],
  options?: {
    readonly cwd?: string
    readonly env?: NodeJS.ProcessEnv
    readonly capture?: boolean
    readonly input?: string
  },
): Promise<{ readonly code: number; readonly stdout: string }>
