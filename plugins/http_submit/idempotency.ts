/**
 * `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that comes again is answered as before, over a restart,
 * too. What a crash has interrupted is done again: better twice than not at all.
 */
import type { Host } from "../../server/plugin.ts";
import type { ApiKey } from "./keys.ts";
import { Refusal } from "./answers.ts";

/** What is kept of a request. */
type Kept = {
  /** Of what was sent in, hexadecimal. */
  readonly fingerprint: string;
  /** The queue id and the recipients; `null`: it is under way, or a crash has interrupted it. */
  readonly id: string | null;
  readonly recipients: readonly string[];
};

/** A request with a key. */
export interface Claim {
  /** The answer of the first time. */
  readonly before?: { readonly id: string; readonly recipients: readonly string[] };
  /** It is done. */
  done(id: string, recipients: readonly string[]): Promise<void>;
  /** It came to nothing: it may come again. */
  failed(): Promise<void>;
}

const none: Claim = { done: () => Promise.resolve(), failed: () => Promise.resolve() };

/** Remembers requests. */
export class Idempotency {
  /** @param remember Milliseconds. */
  constructor(readonly host: Pick<Host, "store" | "cache">, readonly remember: number) {}

  /** @throws {Refusal} where the key was used for something else, or is under way. */
  async claim({ name }: ApiKey, header: string | null, fingerprint: string): Promise<Claim> {
    if (header === null) return none;
    // A structured header's string (RFC 9651); people leave the quotes out.
    const key = /^"?([\x20\x21\x23-\x7e]{1,255})"?$/.exec(header.trim())?.[1];
    if (key === undefined) throw new Refusal(400, "Idempotency-Key is 1 to 255 characters of ASCII");
    const where = `key ${name} ${await digest(new TextEncoder().encode(key))}`;
    const ticket = crypto.randomUUID();
    // What is under way stands in memory, which a crash clears and a reload doesn't.
    if (await this.host.cache.getOrSet(where, ticket, { ttl: "10m" }) !== ticket) throw underWay;
    try {
      return await this.#claim(where, fingerprint);
    } catch (error) {
      await this.host.cache.delete(where);
      throw error;
    }
  }

  async #claim(where: string, fingerprint: string): Promise<Claim> {
    const { store, cache } = this.host;
    const how = { ttl: `${Math.ceil(this.remember / 1000)}s` } as const; // two weeks in ms are too long for a duration
    const begun: Kept = { fingerprint, id: null, recipients: [] };
    const kept = await store.getOrSet<Kept>(where, begun, how);
    if (kept.fingerprint !== fingerprint) {
      throw new Refusal(422, "This Idempotency-Key was used for another message: take a new one");
    }
    const release = () => cache.delete(where);
    if (kept.id !== null) {
      await release();
      return { ...none, before: { id: kept.id, recipients: kept.recipients } };
    }
    return {
      done: (id, recipients) => store.set(where, { ...begun, id, recipients }, how).finally(release),
      failed: () => store.delete(where).finally(release),
    };
  }
}

const underWay = new Refusal(409, "A request with this Idempotency-Key is under way: wait for it", {
  retryAfter: 1000,
});

/** SHA-256, hexadecimal. */
export async function digest(octets: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", octets)).toHex();
}
