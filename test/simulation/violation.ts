/** A rule that the run broke. `rule` is short and the same for all breaks of its kind. */
export type Violation = { readonly rule: string; readonly detail: string; readonly at: number }

export type Violate = (rule: string, detail: string) => void
