/** A proxy's next hop, played by a test: it hears each recipient while the client waits, and then the message. */
import type { Answer, Passage, PassageOpened, PassageRequest, Passing } from "../delivery/passing.ts";
import { deferred } from "../delivery/smtp/result.ts";
import { delivered, type Hop, type Outcome } from "../plugin.ts";
import type { ClientRecipient } from "../smtp/client.ts";
import { concat } from "../message/render.ts";
import { readMail } from "./mail.ts";
import type { OutgoingMail, SmtpAnswer } from "./outgoing.ts";

/** A recipient that a proxy names to its next hop. */
export interface PassedRecipient {
  /** The envelope sender, `""` for bounces. */
  readonly from: string;
  /** The recipient. */
  readonly to: string;
  /** Where to, as the proxy's route said. */
  readonly hops: readonly Hop[];
  /** Who our client is, if the proxy tells of that (`xclient`, `xforward`). */
  readonly client:
    | { readonly address: string; readonly helo: string | undefined; readonly login: string | undefined }
    | undefined;
}

/**
 * What a proxy's next hop says at RCPT; nothing: it takes the recipient. `"unreachable"`: there is no connection to be had.
 *
 * @example
 * ```ts
 * import { reject } from "postrider";
 * import type { NextHopAnswer } from "postrider/testing";
 * const knows: NextHopAnswer = ({ to }) => to === "alice@example.org" ? undefined : reject("5.1.1", "No such user");
 * ```
 */
export type NextHopAnswer = (
  recipient: PassedRecipient,
) => Outcome | "unreachable" | void | Promise<Outcome | "unreachable" | void>;

/** What passing on needs of the test. */
export interface FakePassingHow {
  /** Who speaks for the next hop at RCPT, asked for each time. */
  readonly nextHop: () => NextHopAnswer;
  /** …and after the message. */
  readonly smtp: () => SmtpAnswer;
  /** Told of what it took. */
  readonly sent: (mail: OutgoingMail) => void;
}

const nameOf = (hops: readonly Hop[]) => hops.map(({ host, path }) => host ?? path).join(",");

/** Passing on without a network. */
export class FakePassing implements Passing {
  readonly #how: FakePassingHow;

  constructor(how: FakePassingHow) {
    this.#how = how;
  }

  keyOf(hops: readonly Hop[]): string {
    return JSON.stringify(hops);
  }

  async open(request: PassageRequest): Promise<PassageOpened> {
    const answer = await this.#rcpt(request, request.first, request.signal);
    const host = nameOf(request.hops);
    if (answer.kind === "deferred") return { kind: "refused", answer, host };
    return { kind: "open", passage: this.#passage(request, host), answer };
  }

  #passage(request: PassageRequest, host: string): Passage {
    const over = Promise.withResolvers<void>();
    return {
      host,
      tls: undefined,
      offersDsn: true,
      released: over.promise,
      rcpt: (recipient, signal) => this.#rcpt(request, recipient, signal),
      send: async ({ sender: from, content, recipients, signal }) => {
        const rendered = content();
        const bytes = rendered instanceof Uint8Array
          ? rendered.slice()
          : concat(await Array.fromAsync(rendered));
        const { hops, client: { id } } = request;
        const to = recipients.map(({ address }) => address);
        const mail: OutgoingMail = { id, from, to, attempt: 1, hops, ...readMail(bytes) };
        const said = await heard(this.#how.smtp()(mail), signal);
        const outcome = Array.isArray(said)
          ? said[0] as Outcome | undefined
          : said as Exclude<typeof said, readonly Outcome[]>;
        const answer = answerOf(outcome);
        if (answer.kind === "said" && answer.reply.code < 300) this.#how.sent(mail);
        over.resolve();
        return answer;
      },
      release: () => {
        over.resolve();
        return over.promise;
      },
    };
  }

  async #rcpt(
    { mail: { sender: from }, hops, client, xclient, xforward }: PassageRequest,
    { address: to }: ClientRecipient,
    signal: AbortSignal,
  ): Promise<Answer> {
    const { address, helo, login } = client;
    const named = { from, to, hops, client: xclient || xforward ? { address, helo, login } : undefined };
    return answerOf(await heard(this.#how.nextHop()(named), signal));
  }
}

/** The next hop's word, unless nobody waits for it any more. */
async function heard<T>(said: T | Promise<T>, signal: AbortSignal): Promise<T | "unreachable"> {
  if (!(said instanceof Promise)) return said;
  return await Promise.race([
    said,
    new Promise<"unreachable">((resolve) => {
      if (signal.aborted) resolve("unreachable");
      else signal.addEventListener("abort", () => resolve("unreachable"), { once: true });
    }),
  ]);
}

function answerOf(said: Outcome | "unreachable" | void): Answer {
  if (said === "unreachable") {
    return { kind: "deferred", deferral: deferred("4.4.1", "No connection", "connect") };
  }
  const outcome = said ?? delivered("2.0.0 Taken");
  if (outcome.verdict === "delivered") return { kind: "said", reply: { code: 250, lines: [outcome.text] } };
  const { verdict, status, text, code = verdict === "defer" ? 451 : 550 } = outcome;
  return { kind: "said", reply: { code, lines: [`${status} ${text}`] } };
}
