/** Answers that are still good: bounded in number and in size, what was used longest ago goes first. */
import type { Clock } from "../clock.ts";
import type { RecordData, RecordType } from "./packet.ts";
import type { DnsResult } from "../dns.ts";

/** A result for any type of record. */
export type AnyResult = DnsResult<RecordData[RecordType]>;

interface Entry {
  readonly result: Exclude<AnyResult, { kind: "failed" }>;
  /** On the monotonic clock: a step of the wall clock makes nothing good or bad. */
  readonly expires: number;
  readonly size: number;
}

/** Seconds that are believed at most: an answer (RFC 8767 §4 has a week; mail moves faster), and that there is none (RFC 2308 §5). */
const longest = { found: 86_400, none: 10_800 };

export class AnswerCache {
  /** In the order of their last use. */
  readonly #entries = new Map<string, Entry>();
  #size = 0;

  /** @param maxSize Roughly bytes. */
  constructor(
    private readonly clock: Clock,
    private readonly maxEntries: number,
    private readonly maxSize: number,
  ) {}

  /** The answer with the seconds it has left. */
  get(key: string): AnyResult | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    const left = entry.expires - this.clock.monotonic();
    if (left <= 0) {
      this.#size -= entry.size;
      return undefined;
    }
    this.#entries.set(key, entry);
    return { ...entry.result, ttl: Math.ceil(left / 1000) };
  }

  /** Keeps an answer for its TTL; a failure, and what lives 0 seconds, is not kept. */
  put(key: string, result: AnyResult): void {
    if (result.kind === "failed") return;
    const seconds = Math.min(result.ttl, longest[result.kind]);
    if (seconds <= 0) return;
    this.#remove(key);
    const size = 200 + key.length + (result.kind === "found" ? sizeOf(result.records) : 0);
    this.#entries.set(key, { result, expires: this.clock.monotonic() + seconds * 1000, size });
    this.#size += size;
    while (this.#entries.size > this.maxEntries || this.#size > this.maxSize) {
      this.#remove(this.#entries.keys().next().value!);
    }
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#size -= entry.size;
  }
}

function sizeOf(records: readonly RecordData[RecordType][]): number {
  let size = 0;
  for (const record of records) {
    if (typeof record === "string") size += 50 + record.length;
    else size += 150 + ("host" in record ? record.host.length : record.certificate.length);
  }
  return size;
}
