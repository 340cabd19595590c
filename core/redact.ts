/** Takes secrets out of texts before they are shown: in logs, errors and printed configuration. */

const mask = '********'
/** Greedy up to the last `@`: a password may hold `@`, `:` and `/` unescaped. */
const urlPassword = /([a-z][a-z0-9+.-]*:\/\/[^\s:/?#@"'<>]*):[^\s"'<>]*@/gi
const parameter = /([?&](?:password|passwd|pwd|sslpassword|token|secret)=)[^&#\s"'<>]*/gi
const pem = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g
const secretKey = /pass(word|wd|phrase)?$|secret|token|credential|jaas|\.pem$|private.?key|ssl\.key|apikey|api\.key/i

/** What stands for a secret. */
export const masked = mask

/** A text without the passwords of the addresses in it, and without private keys. */
export function redactText(text: string): string {
  return text.replace(urlPassword, `$1:${mask}@`).replace(parameter, `$1${mask}`).replace(pem, mask)
}

/** Whether a key's name says that its value is a secret. */
export function namesSecret(key: string): boolean {
  return secretKey.test(key)
}

/**
 * `redactText` that also knows the secrets of this process word for word: as they are, in an address and in JSON.
 * Secrets of fewer than four characters are left: taking them out would only make texts unreadable.
 */
export function redactor(secrets: readonly string[]): (text: string) => string {
  const known = [
    ...new Set(secrets.flatMap((secret) => [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)])),
  ]
    .filter((secret) => secret.length >= 4)
    .sort((a, b) => b.length - a.length)
  if (known.length === 0) return redactText
  return (text) => {
    let shown = redactText(text)
    for (const secret of known) if (shown.includes(secret)) shown = shown.replaceAll(secret, mask)
    return shown
  }
}
