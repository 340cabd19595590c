export function bunBinary(): string | undefined
