/**
 * The hash by which Java's producer, and so most of the world, places keys: murmur2 with Kafka's seed. In 32-bit
 * arithmetic: the same function in @platformatic/kafka works with BigInt, and its default partitioner takes the sign for
 * part of the number, which puts half of all keys elsewhere.
 */
export function murmur2(key: Uint8Array): number {
  const multiplier = 0x5bd1e995
  const length = key.length
  let hash = 0x9747b28c ^ length
  const words = length & ~3
  for (let i = 0; i < words; i += 4) {
    let word = byte(key, i) | (byte(key, i + 1) << 8) | (byte(key, i + 2) << 16) | (byte(key, i + 3) << 24)
    word = Math.imul(word, multiplier)
    word ^= word >>> 24
    hash = Math.imul(hash, multiplier) ^ Math.imul(word, multiplier)
  }
  const rest = length & 3
  if (rest === 3) hash ^= byte(key, words + 2) << 16
  if (rest >= 2) hash ^= byte(key, words + 1) << 8
  if (rest >= 1) hash = Math.imul(hash ^ byte(key, words), multiplier)
  hash = Math.imul(hash ^ (hash >>> 13), multiplier)
  return hash ^ (hash >>> 15)
}

/** The partition of `key` among `partitions`, as Java's default partitioner has it. */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}

function byte(key: Uint8Array, at: number): number {
  return key[at] ?? 0
}
