/** DNS that answers from a table. */
import {
  askableName,
  type DnsFailure,
  dnsOver,
  type DnsResult,
  type Query,
  type RecordData,
  type RecordType,
  type Resolver,
  reverseName,
} from "../dns.ts";

export type { DnsFailure, DnsResult, Query, RecordData, RecordType, Resolver };

/** What there is at a name: records by type, or why none can be had, for all types or for one. */
export type FakeName =
  | DnsFailure
  | ({ readonly [T in RecordType]?: readonly RecordData[T][] | DnsFailure } & {
    /** Seconds; default 300. */
    readonly ttl?: number;
    /** Whether the answers are validated (DNSSEC). */
    readonly ad?: boolean;
  });

/** A {@linkcode Resolver} whose records a test sets. */
export interface FakeDns extends Resolver {
  /** What was asked so far, as `MX example.org`. */
  readonly asked: readonly string[];
  /** Changes what there is at a name, or at an IP address (for PTR); `undefined`: no such name any more. */
  set(name: string, is: FakeName | undefined): void;
}

/**
 * Makes a resolver that answers from a table. A name that isn't in it doesn't exist (NXDOMAIN); a name without the type
 * asked for has none (NODATA); CNAMEs are followed. PTR records may stand at the IP address itself.
 *
 * @param names What there is, by name or IP address.
 *
 * @example
 * ```ts
 * import { fakeDns } from "postrider/testing";
 * import { deepStrictEqual as deepEqual, rejects } from "node:assert/strict";
 * const dns = fakeDns({
 *   "example.org": { MX: [{ preference: 10, host: "mx.example.org" }], TXT: ["v=spf1 -all"] },
 *   "192.0.2.1": { PTR: ["mx.example.org"] },
 *   "broken.example": "servfail",
 * });
 * deepEqual(await dns.txt("example.org"), ["v=spf1 -all"]);
 * deepEqual(await dns.ptr("192.0.2.1"), ["mx.example.org"]);
 * deepEqual(await dns.txt("nowhere.example"), []);
 * await rejects(dns.txt("broken.example"), /SERVFAIL/);
 * ```
 */
export function fakeDns(names: Readonly<Record<string, FakeName>> = {}): FakeDns {
  const table = new Map<string, FakeName>();
  const asked: string[] = [];
  const keyOf = (name: string) => askableName(/^[0-9.]+$|:/.test(name) ? reverseName(name) : name) ?? name;
  const set = (name: string, is: FakeName | undefined) => {
    if (is === undefined) table.delete(keyOf(name));
    else table.set(keyOf(name), is);
  };
  for (const [name, is] of Object.entries(names)) set(name, is);

  function look<T extends RecordType>(name: string, type: T, links: number): DnsResult<RecordData[T]> {
    const failed = (reason: DnsFailure) => ({ kind: "failed", reason, server: "192.0.2.53:53" }) as const;
    if (links < 0) return failed("malformed");
    const is = table.get(name);
    const none = { kind: "none", ad: false, ttl: 300 } as const;
    if (is === undefined) {
      // A name that others stand under exists, and holds nothing (RFC 8020).
      const within = [...table.keys()].some((other) => other.endsWith(`.${name}`));
      return { ...none, reason: within ? "nodata" : "nxdomain" };
    }
    if (typeof is === "string") return failed(is);
    // An index by a type parameter loses which type it was; it is the one asked for.
    const records = is[type] as readonly RecordData[T][] | DnsFailure | undefined;
    if (typeof records === "string") return failed(records);
    const [ad, ttl] = [is.ad ?? false, is.ttl ?? 300];
    if (records !== undefined && records.length > 0) {
      return { kind: "found", records, ad, ttl, canonical: name };
    }
    if (typeof is.CNAME === "string") return failed(is.CNAME);
    const alias = is.CNAME?.[0];
    if (alias === undefined) return { kind: "none", reason: "nodata", ad, ttl };
    const end = look(askableName(alias) ?? alias, type, links - 1);
    return end.kind === "failed" ? end : { ...end, ad: end.ad && ad, ttl: Math.min(end.ttl, ttl) };
  }

  // deno-lint-ignore require-await -- so that an aborted signal rejects
  const query: Query = async <T extends RecordType>(name: string, type: T, signal?: AbortSignal) => {
    signal?.throwIfAborted();
    asked.push(`${type} ${name}`);
    const key = askableName(name);
    if (key === undefined) return { kind: "none", reason: "nxdomain", ad: false, ttl: 0 };
    return look<T>(key, type, 8);
  };
  return { ...dnsOver(query), asked, set, close() {} };
}
