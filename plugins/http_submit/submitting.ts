/** One request: who it is, whether it may, what it sends in, and the answer once that is durable. */
import type { Host } from "../../server/plugin.ts";
import { accepted, Refusal } from "./answers.ts";
import { announced, Budget, drain, piecesOf, readWhole } from "./body.ts";
import { type Composed, isAddress } from "./compose.ts";
import { digest, Idempotency } from "./idempotency.ts";
import { type ApiKey, type ApiKeys, findKey, maySendAs } from "./keys.ts";
import { openRaw } from "./raw.ts";

/** What is taken, and how much of it. */
export interface SubmittingOptions {
  readonly max: number;
  /** Milliseconds. */
  readonly timeLimit: number;
  readonly concurrency: number;
  /** Milliseconds. */
  readonly remember: number;
}

/** What it needs. */
export interface SubmittingTools {
  keys(): ApiKeys | Promise<ApiKeys>;
  compose(body: Uint8Array<ArrayBuffer>): Promise<Composed>;
}

type Mail = Parameters<Host["submit"]>[0];

/** What a request has come to: the message, and what an Idempotency-Key stands for. */
interface Sent {
  readonly fingerprint: string;
  /** Sender and authors: all of them the key's to use. */
  readonly authors: readonly string[];
  readonly mail: Mail;
}

/** Octets of JSON bodies that are in memory, all together: each is held a few times while it becomes a message. */
const budget = 64 * 1024 ** 2;
const hour = 3_600_000;

/** Answers requests. */
export class Submitting {
  readonly #idempotency: Idempotency;
  readonly #budget: Budget;
  #underWay = 0;
  #idle: (() => void) | undefined;

  constructor(
    readonly options: SubmittingOptions,
    readonly host: Pick<Host, "submit" | "store" | "cache" | "clock" | "log">,
    readonly tools: SubmittingTools,
  ) {
    this.#idempotency = new Idempotency(host, options.remember);
    this.#budget = new Budget(Math.max(budget, options.max));
  }

  /** @param ip The client's. Never rejects. */
  async handle(request: Request, ip: string): Promise<Response> {
    if (this.#underWay >= this.options.concurrency) return tooMany.response();
    this.#underWay++;
    const over = new AbortController();
    const { clock } = this.host;
    clock.sleep(this.options.timeLimit, over.signal).then(() => over.abort(), () => {});
    try {
      return await this.#answer(request, ip, over.signal);
    } catch (error) {
      await drain(request, clock);
      return this.#refused(error, ip);
    } finally {
      over.abort();
      this.#underWay--;
      if (this.#underWay === 0) this.#idle?.();
    }
  }

  /** Resolves when no request is under way: each has its time limit. */
  idle(): Promise<void> {
    if (this.#underWay === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle = resolve);
  }

  #refused(error: unknown, ip: string): Response {
    const { log } = this.host;
    if (error instanceof Refusal) {
      log.info("not taken over HTTP", { ip, status: error.status, why: error.detail });
      return error.response();
    }
    log.error("taking mail over HTTP failed", {
      ip,
      error: error instanceof Error ? error.stack ?? error.message : String(error),
    });
    return new Refusal(503, "The server can't keep the message now: try again", { retryAfter: 60_000 })
      .response();
  }

  async #answer(request: Request, ip: string, signal: AbortSignal): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname !== "/messages") throw new Refusal(404, "Mail is taken at POST /messages");
    if (request.method !== "POST") throw new Refusal(405, "Mail is taken by POST", {}, { allow: "POST" });
    const key = await findKey(await this.tools.keys(), request.headers.get("authorization"));
    if (!key) throw notKnown;
    const length = announced(request, this.options.max);
    const type = request.headers.get("content-type")?.split(";", 1).at(0)?.trim().toLowerCase();
    switch (type) {
      case "application/json": {
        const giveBack = this.#budget.take(length ?? this.options.max);
        try {
          return await this.#keep(request, ip, key, await this.#readJson(request, signal));
        } finally {
          giveBack();
        }
      }
      case "message/rfc822":
        return await this.#keep(request, ip, key, await this.#readRaw(request, url, signal));
      default:
        throw new Refusal(415, "Content-Type is application/json or message/rfc822");
    }
  }

  async #readJson(request: Request, signal: AbortSignal): Promise<Sent> {
    const body = await readWhole(request, this.options.max, signal);
    const fingerprint = await digest(body);
    const composed = await this.tools.compose(body);
    if (composed.kind === "invalid") {
      const [first] = composed.problems;
      const detail = first!.path === "" ? `The body ${first!.message}` : `${first!.path} ${first!.message}`;
      throw new Refusal(400, detail, { errors: composed.problems });
    }
    const { sender, author, recipients, content } = composed;
    return { fingerprint, authors: [sender, author], mail: { sender, recipients, content } };
  }

  /** The envelope stands in the query: `?from=…&to=…&to=…`. */
  async #readRaw(request: Request, { searchParams, search }: URL, signal: AbortSignal): Promise<Sent> {
    const [sender, recipients] = [searchParams.get("from"), [...new Set(searchParams.getAll("to"))]];
    if (sender === null || recipients.length === 0) {
      throw new Refusal(
        400,
        "A whole message needs its envelope: POST /messages?from=ADDRESS&to=ADDRESS&to=ADDRESS",
      );
    }
    for (const address of [...sender === "" ? [] : [sender], ...recipients]) {
      if (!isAddress(address)) {
        throw new Refusal(400, `"${address.slice(0, 100)}" is not an address such as alice@example.org`);
      }
    }
    const { authors, content } = await openRaw(piecesOf(request, this.options.max, signal));
    const length = request.headers.get("content-length") ?? "";
    const fingerprint = await digest(new TextEncoder().encode(`${search} ${length}`));
    return { fingerprint, authors: [sender, ...authors], mail: { sender, recipients, content } };
  }

  async #keep(
    request: Request,
    ip: string,
    key: ApiKey,
    { fingerprint, authors, mail }: Sent,
  ): Promise<Response> {
    const foreign = authors.find((author) => author !== "" && !maySendAs(key, author));
    if (foreign !== undefined) throw new Refusal(403, `This key may not send as ${foreign}`);
    const { recipients, sender } = mail;
    if (recipients.length > key.recipients) {
      throw new Refusal(
        422,
        `There are ${recipients.length} recipients; this key may have ${key.recipients} in a message`,
      );
    }
    const claim = await this.#idempotency.claim(key, request.headers.get("idempotency-key"), fingerprint);
    if (claim.before) {
      await cancelled(mail.content);
      return accepted(claim.before.id, claim.before.recipients, "replayed");
    }
    let id: string;
    try {
      await this.#count(key);
      ({ id } = await this.host.submit(mail));
    } catch (error) {
      await claim.failed();
      throw asRefusal(error);
    }
    this.host.log.info("taken over HTTP", {
      id,
      key: key.name,
      from: sender,
      recipients: recipients.length,
      ip,
    });
    // The message is kept: what the store has to say to that is no reason to have it sent again.
    await claim.done(id, recipients).catch((error) =>
      this.host.log.error("an Idempotency-Key is not remembered", { id, error: String(error) })
    );
    return accepted(id, recipients, "new");
  }

  /** By the clock's hours. @throws {Refusal} when the hour is used up. */
  async #count({ name, hourly }: ApiKey): Promise<void> {
    const { store, clock } = this.host;
    const now = clock.now();
    const count = await store.increment(`rate ${name} ${Math.floor(now / hour)}`, 1, { ttl: "2h" });
    if (count <= hourly) return;
    throw new Refusal(429, `This key may send ${hourly} messages an hour, and has`, {
      retryAfter: hour - now % hour,
    });
  }
}

const notKnown = new Refusal(401, "Say Authorization: Bearer KEY, with a key that is known here", {}, {
  "www-authenticate": 'Bearer realm="mail"',
});
const tooMany = new Refusal(503, "There are too many requests at the moment: try again", {
  retryAfter: 1000,
});

async function cancelled(content: Mail["content"]): Promise<void> {
  if (content instanceof ReadableStream) await content.cancel();
}

/** What the server says to mail of our own is a reply of SMTP. */
function asRefusal(error: unknown): unknown {
  if (error instanceof Refusal || !(error instanceof Error)) return error;
  const { code } = error as { code?: unknown };
  if (typeof code !== "number") return error;
  return code >= 500
    ? new Refusal(422, `The message is refused: ${error.message}`)
    : new Refusal(503, `The message can't be taken now: ${error.message}`, { retryAfter: 60_000 });
}
