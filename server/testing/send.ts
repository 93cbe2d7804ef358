/** A message sent to a test server in one line: the client's side of a whole session, and what came of it. */
import type { Session } from "../plugin.ts";
import type { TestClient, TestReply } from "./client.ts";
import type { Said } from "./hearing.ts";
import { compose, type TestContent } from "./mail.ts";

/** Who connects, and to what kind of listener. */
export interface ConnectOptions {
  /** The client's address; default `192.0.2.1`. */
  readonly ip?: string;
  /** The client's port; default 40000. */
  readonly port?: number;
  /** Default `mx`. */
  readonly role?: Session["role"];
  /** Default `smtp`. */
  readonly protocol?: "smtp" | "lmtp";
  /** `starttls` (default): it is offered; `implicit`: TLS runs from the first byte; `none`: there is no certificate. */
  readonly tls?: "starttls" | "implicit" | "none";
  /** Whether role `mx` lets users log in; default false. */
  readonly auth?: boolean;
  /** Whether loopback clients may log in without TLS; default false. */
  readonly allowPlain?: boolean;
}

/** A message to send, and how. */
export interface TestMail extends ConnectOptions {
  /** The envelope sender; default `sender@example.net`, `""` for a bounce. */
  readonly from?: string;
  /** The recipients. */
  readonly to: string | readonly string[];
  /** The message whole; default: a subject and a line of text. */
  readonly content?: TestContent;
  /** Header fields, put on top of what else is given: `{ Subject: "Hello" }`, several of one name as a list. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** What follows the header, where `content` isn't given. */
  readonly text?: string;
  /** What the client calls itself; default `client.example.net`. */
  readonly helo?: string;
  /**
   * Logs in before MAIL: then `role` is `submission` and `tls` is `implicit` unless given. A name alone is for {@linkcode logins}, which
   * ask for no password.
   */
  readonly user?: string | { readonly name: string; readonly password: string };
}

/** A message whose client goes in between. */
export interface CutMail extends TestMail {
  /** Once it has said so many octets of the session its connection is reset; what it said until then arrives. */
  readonly cut: number;
}

/** What came of a message. */
export type Sent = SentBase & ({ readonly outcome: "accepted"; readonly id: string } | Refused);

/** What came of a {@linkcode CutMail}. */
export type CutSent = Sent | (SentBase & Lost);

/** A message that was refused, or that had no recipient. */
export interface Refused {
  /** Nothing was kept. */
  readonly outcome: "refused";
  /** The last thing the client said. */
  readonly phase: "connect" | "helo" | "auth" | "mail" | "rcpt" | "data";
  /** Who refused it: a plugin's name, or `core`. */
  readonly by: string;
}

/** The client was gone in between: what became of its message, it doesn't know. */
export interface Lost {
  /** See `server.delivered` and `server.queue()`. */
  readonly outcome: "lost";
}

/** What is known of every message. */
export interface SentBase {
  /** The reply that decided; the last one, where the client was gone. */
  readonly reply: TestReply;
  /** What plugins said, in order; those that had no opinion are not in it. */
  readonly said: readonly Said[];
  /** Each recipient with the reply to its RCPT. */
  readonly recipients: readonly { readonly address: string; readonly reply: TestReply }[];
  /** What was said after the final dot: one reply, for LMTP one for each accepted recipient. */
  readonly replies: readonly TestReply[];
}

/** What a session came to, before it is known who said what. */
export type Conversed =
  & Omit<SentBase, "said">
  & ({ readonly outcome: "accepted"; readonly id: string } | {
    readonly outcome: "refused";
    readonly phase: Refused["phase"];
  } | Lost);

/** One client's transaction, from the greeting to QUIT. */
export async function converse(client: TestClient, mail: TestMail): Promise<Conversed> {
  const conversation = new Conversation(client, mail);
  try {
    return await conversation.run(await compose(mail));
  } catch (error) {
    if (!client.isCut) throw error;
    return conversation.lost();
  }
}

class Conversation {
  readonly #recipients: { address: string; reply: TestReply }[] = [];
  readonly #after: TestReply[] = [];
  #last: TestReply = { code: 0, status: undefined, lines: [], text: "" };

  constructor(readonly client: TestClient, readonly mail: TestMail) {}

  lost(): Conversed {
    return { outcome: "lost", ...this.#base(this.#last) };
  }

  async run(content: Uint8Array): Promise<Conversed> {
    const { from = "sender@example.net", helo = "client.example.net", protocol = "smtp", user, to } =
      this.mail;
    const greeting = this.#last = await this.client.reply();
    if (greeting.code !== 220) return this.#refused("connect", greeting);
    const hello = await this.#command(`${protocol === "lmtp" ? "LHLO" : "EHLO"} ${helo}`);
    if (hello.code !== 250) return this.#refused("helo", hello);
    if (user !== undefined) {
      const { name, password } = typeof user === "string" ? { name: user, password: "password" } : user;
      const login = this.#last = await this.client.login(name, password);
      if (login.code !== 235) return this.#refused("auth", login);
    }
    const sender = await this.#command(`MAIL FROM:<${from}>`);
    if (sender.code !== 250) return this.#refused("mail", sender);
    for (const address of typeof to === "string" ? [to] : to) {
      const reply = await this.#command(`RCPT TO:<${address}>`);
      this.#recipients.push({ address, reply });
      if (reply.code === 421) return this.#refused("rcpt", reply);
    }
    const kept = this.#recipients.filter(({ reply }) => reply.code === 250);
    if (kept.length === 0) return this.#refused("rcpt", this.#recipients.at(-1)!.reply);
    return await this.#content(content, protocol === "lmtp" ? kept.length : 1);
  }

  async #content(content: Uint8Array, replies: number): Promise<Conversed> {
    const data = await this.#command("DATA");
    if (data.code !== 354) return this.#refused("data", data);
    this.#after.push(this.#last = await this.client.content(content));
    while (this.#after.length < replies) this.#after.push(this.#last = await this.client.reply());
    const accepted = this.#after.find((reply) => reply.code < 300);
    if (!accepted) return this.#refused("data", this.#after[0]!);
    await this.client.command("QUIT");
    return { outcome: "accepted", id: /\S+$/.exec(accepted.text)?.[0] ?? "", ...this.#base(accepted) };
  }

  async #command(line: string): Promise<TestReply> {
    return this.#last = await this.client.command(line);
  }

  #refused(phase: Refused["phase"], reply: TestReply): Conversed {
    return { outcome: "refused", phase, ...this.#base(reply) };
  }

  #base(reply: TestReply): Omit<SentBase, "said"> {
    return { reply, recipients: this.#recipients, replies: this.#after };
  }
}
