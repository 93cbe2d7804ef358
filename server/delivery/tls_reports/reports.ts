/**
 * TLS reports (RFC 8460): gathers what became of sessions, by recipient domain and UTC day, in the store; and when a day is
 * over sends each domain that asks for it its report, by mail or HTTPS.
 */
import type { Clock } from "../../clock.ts";
import type { Query } from "../../dns.ts";
import type { Log } from "../../log.ts";
import type { Store } from "../../plugin.ts";
import { DomainIndex } from "../domain_index.ts";
import type { HttpsAnswer, HttpsRequest } from "../https.ts";
import type { Seen } from "../smtp/witness.ts";
import { readReportTo, type ReportTo } from "./record.ts";
import { packReport, reportMessage, type ReportParts } from "./report.ts";
import { count, merge, type Tally } from "./tally.ts";

/** Who sends reports. */
export interface ReportSender {
  readonly from: string;
  readonly organization: string | undefined;
  readonly contact: string | undefined;
  /** The IP address that mail leaves from, where the configuration names one. */
  readonly sendingAddress: string | undefined;
}

/** What it needs. */
export interface TlsReportsHow {
  readonly store: Store;
  readonly query: Query;
  readonly clock: Clock;
  readonly log: Log;
  /** Who sends them now; `undefined`: nobody. */
  readonly sender: () => ReportSender | undefined;
  /** An id of the queue. */
  readonly newId: () => string;
  /** Puts a message into the queue, under this id. @throws {Error} when it is refused. */
  readonly submit: (mail: { id: string; recipient: string; content: string }) => Promise<unknown>;
  readonly post: (request: HttpsRequest, signal: AbortSignal) => Promise<HttpsAnswer>;
}

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
/** What was seen is in memory for so long at most. */
const flushEvery = minute;
const roundEvery = 15 * minute;
/** After a day's end its reports leave over so long, each domain at a time of its own (§4: not all at midnight). */
const spread = 4 * hour;
/** A report that can't be delivered is tried for so long after its day (§3: a day); then it is dropped. */
const patience = 28 * hour;
/** A queued report is known as one for as long as it may lie in the queue. */
const remembered = "40d";
const kept = "8d";
/** Domains of which something waits to be written; one more writes at once. */
const mostWaiting = 5000;

/** Gathers and sends. */
export class TlsReports {
  readonly #how: TlsReportsHow;
  #waiting = new Map<string, { readonly day: string; readonly domain: string; readonly tally: Tally }>();
  readonly #indexes = new Map<string, DomainIndex>();
  readonly #closing = new AbortController();
  #work: Promise<void> = Promise.resolve();
  #cancelFlush = () => {};
  #cancelRound = () => {};

  constructor(how: TlsReportsHow) {
    this.#how = how;
  }

  /** Begins to send: at once what became due while the server was off. */
  start(): void {
    void this.#after(() => this.#round()).then(() => {
      if (!this.#closing.signal.aborted) this.#roundLater();
    });
  }

  /** Counts a session. */
  readonly gather = (seen: Seen): void => {
    const today = dayOf(this.#how.clock.now());
    const key = `${today} ${seen.domain}`;
    let waiting = this.#waiting.get(key);
    if (waiting === undefined) {
      waiting = { day: today, domain: seen.domain, tally: { policies: [] } };
      this.#waiting.set(key, waiting);
      if (this.#waiting.size === 1) {
        this.#cancelFlush = this.#how.clock.after(flushEvery, () => void this.flush());
      }
      if (this.#waiting.size >= mostWaiting) void this.flush();
    }
    count(waiting.tally, seen);
  };

  /** Whether a queued message is a report of ours. */
  async isReport({ id, sender }: { readonly id: string; readonly sender: string }): Promise<boolean> {
    if (sender !== "") return false;
    try {
      return await this.#how.store.get(`report ${id}`) !== undefined;
    } catch {
      return false; // the store is down: it goes as other mail does
    }
  }

  /** Writes to the store what was seen since. Never rejects. */
  flush(): Promise<void> {
    return this.#after(() => this.#flush());
  }

  /** Writes what is left, and sends no more. */
  async close(): Promise<void> {
    this.#closing.abort(new Error("the server stops"));
    this.#cancelRound();
    await this.flush();
  }

  /** One after the other, so that what is read and written again is nobody else's meanwhile. */
  #after(work: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(work).catch((error) => {
      this.#how.log.error("TLS reports: the store or a report failed", { error: String(error) });
    });
    return this.#work;
  }

  async #flush(): Promise<void> {
    this.#cancelFlush();
    const waiting = this.#waiting;
    this.#waiting = new Map();
    for (const [key, { day, domain, tally }] of waiting) {
      const all = await this.#tallyOf(key) ?? { policies: [] };
      merge(all, tally);
      // Its own JSON is a JSON value; an interface is none to the types.
      await this.#how.store.set(`tally ${key}`, JSON.stringify(all), { ttl: kept });
      await this.#indexOf(day).add(domain);
    }
  }

  async #tallyOf(key: string): Promise<Tally | undefined> {
    const text = await this.#how.store.get<string>(`tally ${key}`);
    return text === undefined ? undefined : JSON.parse(text);
  }

  #indexOf(day: string): DomainIndex {
    let index = this.#indexes.get(day);
    if (index === undefined) {
      index = new DomainIndex(this.#how.store, `domains ${day}`, kept);
      this.#indexes.set(day, index);
    }
    return index;
  }

  // ── Sending

  #roundLater(): void {
    this.#cancelRound = this.#how.clock.after(roundEvery, () => this.start());
  }

  /** Sends what is due of the last two days. */
  async #round(): Promise<void> {
    const now = this.#how.clock.now();
    for (const ago of [2, 1]) {
      const reported = dayOf(now - ago * day);
      const ended = Date.parse(`${reported}T00:00:00Z`) + day;
      const index = this.#indexOf(reported);
      for await (const domain of index.all()) {
        if (this.#closing.signal.aborted) return;
        if (now < ended + offsetOf(domain)) continue;
        const result = await this.#report(domain, reported);
        if (result === "later" && now < ended + patience) continue;
        if (result === "later") this.#how.log.warning("TLS report given up", { domain, day: reported });
        await this.#how.store.delete(`tally ${reported} ${domain}`);
        await index.delete(domain);
      }
    }
    this.#indexes.delete(dayOf(now - 3 * day));
  }

  async #report(domain: string, reported: string): Promise<"done" | "later"> {
    const { query, sender: senderNow, log, newId } = this.#how;
    const sender = senderNow();
    if (sender === undefined) return "done";
    const found = await query(`_smtp._tls.${domain}`, "TXT", this.#closing.signal);
    if (found.kind === "failed") return "later";
    const targets = found.kind === "found" ? readReportTo(found.records) : [];
    const tally = targets.length > 0 ? await this.#tallyOf(`${reported} ${domain}`) : undefined;
    if (tally === undefined) return "done";
    const { from, organization, contact, sendingAddress } = sender;
    const submitter = from.slice(from.lastIndexOf("@") + 1);
    const parts: ReportParts = {
      domain,
      day: reported,
      tally,
      submitter,
      organization: organization ?? submitter,
      contact: contact ?? from,
      id: newId(),
      sendingAddress,
    };
    const packed = packReport(parts);
    let delivered = false;
    for (const target of targets) {
      const problem = await this.#deliver(target, parts, packed, from);
      const to = target.by === "mail" ? target.address : target.url.href;
      if (problem === undefined) log.info("TLS report sent", { domain, day: reported, to });
      else log.warning("TLS report not sent", { domain, day: reported, to, error: problem });
      delivered ||= problem === undefined;
    }
    // Where one of several has it, it is delivered (RFC 8460 §3).
    return delivered ? "done" : "later";
  }

  /** Says why it could not be delivered; nothing: it was. */
  async #deliver(
    target: ReportTo,
    parts: ReportParts,
    packed: Uint8Array<ArrayBuffer>,
    from: string,
  ): Promise<string | undefined> {
    const { submit, post, store, clock, newId } = this.#how;
    if (target.by === "https") {
      const { url } = target;
      const answer = await post({
        host: url.hostname,
        port: url.port === "" ? 443 : Number(url.port),
        path: `${url.pathname}${url.search}`,
        headers: { "content-type": "application/tlsrpt+gzip" },
        body: packed,
        largest: 65_536,
      }, this.#closing.signal);
      if (answer.kind === "failed") return answer.text;
      return answer.status >= 200 && answer.status < 300 ? undefined : `the host answers ${answer.status}`;
    }
    const id = newId();
    try {
      // Known as a report before it is in the queue, so that not even its first attempt is reported on.
      await store.set(`report ${id}`, true, { ttl: remembered });
      const content = reportMessage(parts, packed, { from, to: target.address, now: clock.now() });
      await submit({ id, recipient: target.address, content });
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}

function dayOf(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

/** When after midnight a domain's report leaves: always the same, and others' at other times. */
function offsetOf(domain: string): number {
  let sum = 17;
  for (let at = 0; at < domain.length; at++) sum = (sum * 33 + domain.charCodeAt(at)) >>> 0;
  return sum % spread;
}
