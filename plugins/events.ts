/** Posts what becomes of mail to an HTTP server: accepted, delivered, deferred, bounced; signed, in order, none left out. */
import { definePlugin, duration, type Host, type MailEvent, z } from "../server/plugin.ts";
import { domain } from "./addresses.ts";
import { type Answer, Receiver, receiverOptions } from "./gateway/receiver.ts";
import { signWhole } from "./gateway/sign.ts";

const kinds = ["accepted", "delivered", "deferred", "bounced", "deleted"] as const;

const options = z.object({
  ...receiverOptions,
  kinds: z.array(z.enum(kinds)).min(1).default(["delivered", "deferred", "bounced"]).describe(
    "What is told; `deleted`: by an operator, from the queue",
  ),
  domains: z.array(domain).optional().describe(
    "Only mail from or to these domains; default: all of them",
  ),
  batch: z.int().min(1).max(1000).default(100).describe(
    "How many events a post holds at most; 1: each alone",
  ),
  timeLimit: duration("30s").describe("How long a post may take, its answer included"),
});

type Options = z.output<typeof options>;

/** The key under which the store knows how far it has come. */
const place = "place";
/** Milliseconds between two looks when there was nothing; before another post after one that failed, at first and at most. */
const [often, soon, longest] = [1000, 1000, 600_000];
/** A failure is told at first, and then as often as this, in milliseconds. */
const complaining = 3_600_000;

/** The plugin `events`. */
export default definePlugin({
  name: "events",
  options,
  async setup(_on, given, host) {
    const receiver = await Receiver.open(given, host);
    if (given.secret === undefined && given.secretFile === undefined) {
      host.log.warning("posts are not signed: whoever knows the URL can write them", {
        url: receiver.origin,
      });
    }
    host.runs(async () => {
      const over = new AbortController();
      const teller = new Teller(given, receiver, host, over.signal);
      await teller.begin();
      const told = teller.run();
      return async () => {
        over.abort();
        await told;
      };
    });
    return () => receiver.close();
  },
});

/** Reads on from where it was, and posts what it reads. What isn't taken stands in the history, not in memory. */
class Teller {
  #complained = -Infinity;

  constructor(
    readonly options: Options,
    readonly receiver: Receiver,
    readonly host: Host,
    readonly over: AbortSignal,
  ) {}

  /** Before there is any mail: at the first start its first events are to come behind the place. */
  async begin(): Promise<void> {
    const { store, history } = this.host;
    try {
      if (await store.get(place) !== undefined) return;
      const { place: end } = await history.after(undefined, 1);
      await store.set(place, end, { ttl: "3650d" });
    } catch (error) { // mail comes first
      this.#complain("events can't be read now", error instanceof Error ? error.message : String(error));
    }
  }

  /** Resolves when it is over. */
  async run(): Promise<void> {
    let wait = soon;
    while (!this.over.aborted) {
      const went = await this.#goOn().catch((error): Went => {
        this.#complain("events can't be read now", error instanceof Error ? error.message : String(error));
        return { kind: "later" };
      });
      if (went.kind === "more") wait = soon;
      else {
        const ms = went.kind === "nothing" ? often : Math.max(wait, went.after ?? 0);
        wait = went.kind === "nothing" ? soon : Math.min(2 * wait, longest);
        await this.host.clock.sleep(ms, this.over).catch(() => {});
      }
    }
  }

  async #goOn(): Promise<Went> {
    const { store, history, log } = this.host;
    const from = await store.get<string>(place);
    const { events, place: to, more, missed } = await history.after(from, this.options.batch);
    if (missed) log.error("events were forgotten before they were posted: `tracking.keep` is over", {});
    const wanted = events.filter((event) => this.#isWanted(event));
    for (let at = 0; at < wanted.length; at += this.options.batch) {
      const answer = await this.#post(wanted.slice(at, at + this.options.batch));
      if (this.over.aborted) return { kind: "later" }; // who comes after us has read the place already
      const isTaken = answer.kind === "answered" && answer.status >= 200 && answer.status < 300;
      if (!isTaken) return this.#notTaken(answer);
    }
    if (to !== from) await store.set(place, to, { ttl: "3650d" });
    if (wanted.length > 0 && this.#complained > -Infinity) {
      log.info("events are taken again", { url: this.receiver.origin });
      this.#complained = -Infinity;
    }
    return more ? { kind: "more" } : { kind: "nothing" };
  }

  #isWanted({ kind, sender = "", recipient = "" }: MailEvent): boolean {
    const { kinds, domains } = this.options;
    if (!kinds.includes(kind)) return false;
    const isOurs = (address: string) =>
      domains!.includes(address.slice(address.lastIndexOf("@") + 1).toLowerCase());
    return domains === undefined || isOurs(sender) || isOurs(recipient);
  }

  async #post(events: readonly MailEvent[]): Promise<Answer> {
    const { clock } = this.host;
    const utf8 = new TextEncoder();
    const names = utf8.encode(events.map(({ key }) => key).join("\n"));
    const id = new Uint8Array(await crypto.subtle.digest("SHA-256", names), 0, 16).toHex();
    const body = utf8.encode(JSON.stringify({ events: events.map(inJson) }));
    const headers = await signWhole(id, Math.floor(clock.now() / 1000), body, await this.receiver.secrets());
    const late = new AbortController();
    const signal = AbortSignal.any([this.over, late.signal]);
    const { timeLimit } = this.options;
    clock.sleep(timeLimit, signal).then(
      () => late.abort(new Error(`no answer within ${timeLimit / 1000} s`)),
      () => {},
    );
    try {
      return await this.receiver.post({
        headers: { ...headers, "content-type": "application/json", "idempotency-key": `"${id}"` },
        body,
      }, signal);
    } finally {
      late.abort();
    }
  }

  #notTaken(answer: Answer): Went {
    if (answer.kind === "failed") this.#complain("events are not taken", answer.text);
    else this.#complain("events are not taken", `${answer.status} ${answer.text}`.trim());
    const after = answer.kind === "answered" ? Math.min(answer.retryAfter ?? 0, complaining) : 0;
    return { kind: "later", after };
  }

  #complain(what: string, why: string): void {
    const now = this.host.clock.now();
    if (now - this.#complained < complaining) return;
    this.#complained = now;
    this.host.log.warning(what, { url: this.receiver.origin, why });
  }
}

/** What a look came to; `after`: milliseconds that the receiver wants to be left alone. */
interface Went {
  readonly kind: "more" | "nothing" | "later";
  readonly after?: number;
}

/** Times as people and most libraries read them. */
const inJson = ({ at, nextAttempt, ...event }: MailEvent) => ({
  ...event,
  at: new Date(at).toISOString(),
  ...(nextAttempt !== undefined && { nextAttempt: new Date(nextAttempt).toISOString() }),
});
