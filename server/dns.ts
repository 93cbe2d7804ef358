/**
 * DNS for a mail server: a stub resolver that tells "there is none" from "could not be asked" (which the platform's own
 * does not), so that an outage of DNS defers mail and never bounces it (CASES G01), and that reports the AD bit, TTLs and
 * TLSA records. It asks recursive servers; it validates no signatures itself.
 */
import { domainToASCII } from "node:url";
import ipaddr from "ipaddr.js";
import { type Clock, systemClock } from "./clock.ts";
import { AnswerCache, type AnyResult } from "./dns/cache.ts";
import { exchange, type Exchanged, type Server } from "./dns/exchange.ts";
import { type Answer, longestChain, type Question, type RecordData, type RecordType } from "./dns/packet.ts";
import { configuredServers, isLoopback, readServer, serverText } from "./dns/servers.ts";
import type { Dns } from "./plugin.ts";

export type { RecordData, RecordType } from "./dns/packet.ts";

/** Why a question could not be answered. Each is temporary. */
export type DnsFailure = "servfail" | "refused" | "timeout" | "malformed" | "network";

/** What came of a question. `ttl` is in seconds; `ad`: a server whose word counts says the answer was validated. */
export type DnsResult<T> =
  | {
    readonly kind: "found";
    readonly records: readonly T[];
    readonly ad: boolean;
    readonly ttl: number;
    /** The name that the records stand at: what was asked for, or what it is an alias of. */
    readonly canonical: string;
  }
  /** There is no such name, or there are no records of this type. */
  | {
    readonly kind: "none";
    readonly reason: "nxdomain" | "nodata";
    readonly ad: boolean;
    readonly ttl: number;
  }
  /** `server` is the one whose failure this is, as `127.0.0.1:53`. */
  | { readonly kind: "failed"; readonly reason: DnsFailure; readonly server: string };

/** Asks one question. Rejects only with the signal's reason, when that comes first. */
export type Query = <T extends RecordType>(
  name: string,
  type: T,
  signal?: AbortSignal,
) => Promise<DnsResult<RecordData[T]>>;

/** DNS as the server itself uses it. */
export interface Resolver extends Dns {
  /** Ends what is under way; its questions fail. */
  close(): void;
}

/** The question could not be answered: temporary, whatever was asked. `message` names the server, the name and the type. */
export class DnsFailed extends Error {
  override readonly name = "DnsFailed";
  constructor(readonly question: Question, readonly reason: DnsFailure, readonly server: string) {
    super(`${question.type} of ${question.name}: DNS server ${server} ${sentences[reason]}`);
  }
}

const sentences: Record<DnsFailure, string> = {
  servfail: "answered SERVFAIL",
  refused: "refused to answer",
  timeout: "did not answer in time",
  malformed: "sent an answer that can't be read",
  network: "could not be reached",
};

export interface DnsOptions {
  /** `127.0.0.1:53`, `[::1]:53`; absent: those of `resolvConf`. */
  readonly servers?: readonly string[];
  /** Believe the AD bit of servers that are not on this machine, too. */
  readonly trustAd?: boolean;
  /** Milliseconds a server has for an answer; default 3,000. */
  readonly timeout?: number;
  /** How often all servers are tried; default 2. */
  readonly rounds?: number;
  /** Answers that are kept; default 10,000. */
  readonly cacheEntries?: number;
  /** Questions on the way at a time, each of which holds an open socket; default 256. */
  readonly sockets?: number;
  readonly resolvConf?: string;
  readonly clock?: Clock;
}

/**
 * Opens the resolver; nothing is asked yet.
 *
 * @throws {Error} when a server's address can't be read.
 */
export function openDns(options: DnsOptions = {}): Resolver {
  const servers = options.servers?.map(readServer) ??
    configuredServers(options.resolvConf ?? "/etc/resolv.conf");
  const clock = options.clock ?? systemClock;
  const stub = new StubResolver(servers, {
    trustAd: options.trustAd ?? false,
    timeout: options.timeout ?? 3000,
    rounds: options.rounds ?? 2,
    sockets: options.sockets ?? 256,
    clock,
    cache: new AnswerCache(clock, options.cacheEntries ?? 10_000, 32 * 1024 ** 2),
  });
  return { ...dnsOver(stub.query), close: () => stub.close() };
}

// ── Asking ─────────────────────────────────────────────────────────────────────────────────────────

interface Settings {
  readonly trustAd: boolean;
  readonly timeout: number;
  readonly rounds: number;
  readonly sockets: number;
  readonly clock: Clock;
  readonly cache: AnswerCache;
}

class StubResolver {
  /** Questions on the way, so that the same one is asked once for all who wait for it. */
  readonly #underWay = new Map<string, Promise<AnyResult>>();
  readonly #waiting: (() => void)[] = [];
  #free: number;
  readonly #closing = new AbortController();
  /** The server that answered last is asked first, so that one that is down costs its time-out once. */
  #preferred = 0;

  constructor(private readonly servers: readonly Server[], private readonly settings: Settings) {
    this.#free = settings.sockets;
  }

  readonly query: Query = async <T extends RecordType>(name: string, type: T, signal?: AbortSignal) => {
    signal?.throwIfAborted();
    const asked = askableName(name);
    // What can't be a name in DNS doesn't exist there.
    if (asked === undefined) return { kind: "none", reason: "nxdomain", ad: false, ttl: 0 };
    const key = `${type} ${asked}`;
    const result = this.settings.cache.get(key) ??
      await abortable(this.#shared(key, { name: asked, type }), signal);
    return result as DnsResult<RecordData[T]>; // the key has the type in it
  };

  close(): void {
    this.#closing.abort();
  }

  #shared(key: string, question: Question): Promise<AnyResult> {
    let asking = this.#underWay.get(key);
    if (asking === undefined) {
      asking = this.#resolve(question).then((result) => {
        this.#underWay.delete(key);
        this.settings.cache.put(key, result);
        return result;
      });
      this.#underWay.set(key, asking);
    }
    return asking;
  }

  /** Follows a chain of CNAMEs that the server left unfinished. */
  async #resolve(question: Question): Promise<AnyResult> {
    await this.#turn();
    try {
      let name = question.name;
      let [ttl, ad] = [Infinity, true];
      for (let links = 0; links <= longestChain; links++) {
        const reply = await this.#askServers({ name, type: question.type });
        if (reply.kind !== "answer") return reply;
        ad &&= reply.ad;
        if (reply.records.length > 0) {
          const canonical = askableName(reply.canonical) ?? reply.canonical;
          return { kind: "found", records: reply.records, ad, ttl: Math.min(ttl, reply.ttl), canonical };
        }
        // Without an SOA nothing says how long the absence holds, so it isn't kept (RFC 2308 §5).
        const negativeTtl = Math.min(ttl, reply.negativeTtl ?? 0);
        if (reply.exists === "no such name") {
          return { kind: "none", reason: "nxdomain", ad, ttl: negativeTtl };
        }
        const unfinished = reply.canonical !== name && reply.negativeTtl === undefined;
        if (!unfinished) return { kind: "none", reason: "nodata", ad, ttl: negativeTtl };
        ttl = Math.min(ttl, reply.ttl);
        const next = askableName(reply.canonical);
        if (next === undefined) return { kind: "none", reason: "nxdomain", ad, ttl };
        name = next;
      }
      return { kind: "failed", reason: "malformed", server: serverText(this.servers[this.#preferred]!) };
    } finally {
      this.#pass();
    }
  }

  /** Asks one server after another, round after round, until one has an answer. */
  async #askServers(
    question: Question,
  ): Promise<Answer & { ad: boolean } | Extract<AnyResult, { kind: "failed" }>> {
    const first = this.#preferred;
    /** What each server's last word was; one that said no is not asked again. */
    const failures = new Map<Server, DnsFailure>();
    for (let round = 0; round < this.settings.rounds; round++) {
      for (let n = 0; n < this.servers.length; n++) {
        const index = (first + n) % this.servers.length;
        const server = this.servers[index]!;
        const before = failures.get(server);
        if (before === "servfail" || before === "refused") continue;
        const reply = await this.#ask(server, question);
        if (reply.kind === "answer") {
          this.#preferred = index;
          return { ...reply, ad: reply.authenticated && (this.settings.trustAd || isLoopback(server)) };
        }
        failures.set(server, reply.kind === "not-understood" ? "servfail" : reply.kind);
      }
    }
    const [server, reason] = mostTelling(failures);
    return { kind: "failed", reason, server: serverText(server) };
  }

  async #ask(server: Server, question: Question): Promise<Exchanged> {
    const { timeout, clock } = this.settings;
    const ask = (edns: boolean) => exchange(server, question, edns, timeout, clock, this.#closing.signal);
    const reply = await ask(true);
    return reply.kind === "not-understood" ? await ask(false) : reply; // RFC 6891 §6.2.2
  }

  #turn(): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #pass(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }
}

/** Of several servers' failures, the one that says most: an answer before none, one that came before one that didn't. */
function mostTelling(failures: ReadonlyMap<Server, DnsFailure>): [Server, DnsFailure] {
  const order: DnsFailure[] = ["servfail", "refused", "malformed", "network", "timeout"];
  return [...failures].sort(([, one], [, other]) => order.indexOf(one) - order.indexOf(other))[0]!;
}

function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

// ── What plugins see ───────────────────────────────────────────────────────────────────────────────

/** The plugins' view of a resolver: absence is `[]`, failure throws {@linkcode DnsFailed}. */
export function dnsOver(query: Query): Dns {
  async function records<T extends RecordType>(
    name: string,
    type: T,
    signal?: AbortSignal,
  ): Promise<RecordData[T][]> {
    const result = await query(name, type, signal);
    if (result.kind === "failed") throw new DnsFailed({ name, type }, result.reason, result.server);
    return result.kind === "found" ? [...result.records] : [];
  }
  return {
    query,
    async a(name, signal) {
      // One after the other: most names asked for are a blocklist's and don't exist, for either type (RFC 8020).
      const first = await query(name, "A", signal);
      if (first.kind === "failed") throw new DnsFailed({ name, type: "A" }, first.reason, first.server);
      if (first.kind === "none" && first.reason === "nxdomain") return [];
      const found = first.kind === "found" ? first.records : [];
      return [...found, ...await records(name, "AAAA", signal)];
    },
    txt: (name, signal) => records(name, "TXT", signal),
    async mx(name, signal) {
      return (await records(name, "MX", signal)).sort((one, other) => one.preference - other.preference);
    },
    // deno-lint-ignore require-await -- so that a bad address rejects, as every failure here does
    ptr: async (ip, signal) => records(reverseName(ip), "PTR", signal),
  };
}

/**
 * The name that an IP address has its PTR records at (RFC 1035 §3.5, RFC 3596 §2.5).
 *
 * @throws {TypeError} when the text is no IP address.
 */
export function reverseName(ip: string): string {
  const isAddress = ip.includes(":") ? ipaddr.IPv6.isValid(ip) : ipaddr.IPv4.isValidFourPartDecimal(ip);
  if (!isAddress) throw new TypeError(`"${ip}" is not an IP address`);
  const address = ipaddr.process(ip); // IPv4-mapped IPv6 becomes IPv4
  const bytes = address.toByteArray().reverse();
  if (address.kind() === "ipv4") return `${bytes.join(".")}.in-addr.arpa`;
  return bytes.map((byte) => `${(byte & 15).toString(16)}.${(byte >> 4).toString(16)}`).join(".") +
    ".ip6.arpa";
}

/** A name as DNS is asked for it: A-labels in lower case, without the last dot; `undefined` for what can't be a name (RFC 1035 §2.3.4). */
export function askableName(name: string): string | undefined {
  const whole = name.endsWith(".") ? name.slice(0, -1) : name;
  // Characters beyond ASCII are mapped by IDNA; a space or control byte is no host's, and asked for it could only confuse.
  const ascii = /^[!-~]*$/.test(whole) ? whole.toLowerCase() : domainToASCII(whole);
  if (ascii.length > 253 || !/^[!-~]+$/.test(ascii)) return undefined;
  return ascii.split(".").every((label) => label.length > 0 && label.length <= 63) ? ascii : undefined;
}
