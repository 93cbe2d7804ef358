/** What a store is asked and answers, on both sides of its Worker and in memory. */

/** One thing asked of a store. `ttl` is in milliseconds. */
export type Request =
  | { readonly do: "get" | "delete"; readonly name: string; readonly key: string }
  | {
    readonly do: "set" | "getOrSet";
    readonly name: string;
    readonly key: string;
    readonly json: string;
    readonly ttl: number;
  }
  | {
    readonly do: "increment";
    readonly name: string;
    readonly key: string;
    readonly by: number;
    readonly ttl: number;
  }
  | { readonly do: "sweep" };

/** A value's JSON, nothing, or why this one request (and no other of its batch) could not be met. */
export type Result = string | undefined | { readonly problem: string };

export type ToWorker =
  | { readonly kind: "open"; readonly path: string; readonly access: "write" | "read" }
  | { readonly kind: "requests"; readonly now: number; readonly requests: readonly Request[] }
  | { readonly kind: "close" };

export type FromWorker =
  | { readonly kind: "opened" }
  | { readonly kind: "unusable"; readonly problem: string }
  /** One result a request; a text where the whole transaction failed and nothing of it was kept. */
  | { readonly kind: "results"; readonly results: readonly Result[] | string };

/** What an increment makes of the value that is there: the sum as JSON, or what stands in its way. */
export function sumOf(json: string | undefined, by: number): string | { readonly problem: string } {
  const value: unknown = json === undefined ? 0 : JSON.parse(json);
  if (typeof value !== "number") return { problem: "the value to add to is not a number" };
  const sum = value + by;
  return Number.isFinite(sum) ? JSON.stringify(sum) : { problem: "the sum is beyond what a number can hold" };
}
