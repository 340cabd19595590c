export const root: string
export const toolsFolder: string
export const setupLog: string
export const cacheFolder: string
export function isWritable(folder: string): boolean
export function onPath(name: string, path?: string): string | undefined
export function libc(): 'glibc' | 'musl'
