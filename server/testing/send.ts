/** A message sent to a test server in one line: the client's side of a whole session, and what came of it. */
import type { Session } from "../plugin.ts";
import type { TestClient, TestContent, TestReply } from "./client.ts";

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
  /** Default: a subject and a line of text. */
  readonly content?: TestContent;
  /** What the client calls itself; default `client.example.net`. */
  readonly helo?: string;
  /** Logs in before MAIL: then `role` is `submission` and `tls` is `implicit` unless given. */
  readonly user?: { readonly name: string; readonly password: string };
}

/** What came of a message. */
export type Sent = SentBase & ({ readonly outcome: "accepted"; readonly id: string } | Refused);

/** A message that was refused, or that had no recipient. */
export interface Refused {
  /** Nothing was kept. */
  readonly outcome: "refused";
  /** The last thing the client said. */
  readonly phase: "connect" | "helo" | "auth" | "mail" | "rcpt" | "data";
}

/** What is known of every message. */
export interface SentBase {
  /** The reply that decided. */
  readonly reply: TestReply;
  /** Each recipient with the reply to its RCPT. */
  readonly recipients: readonly { readonly address: string; readonly reply: TestReply }[];
  /** What was said after the final dot: one reply, for LMTP one for each accepted recipient. */
  readonly replies: readonly TestReply[];
}

/** One client's transaction, from the greeting to QUIT. */
export async function converse(client: TestClient, mail: TestMail): Promise<Sent> {
  const { from = "sender@example.net", helo = "client.example.net", protocol = "smtp" } = mail;
  const recipients: { address: string; reply: TestReply }[] = [];
  const refused = (phase: Refused["phase"], reply: TestReply, replies: TestReply[] = []): Sent => ({
    outcome: "refused",
    phase,
    reply,
    recipients,
    replies,
  });
  const greeting = await client.reply();
  if (greeting.code !== 220) return refused("connect", greeting);
  const hello = await client.command(`${protocol === "lmtp" ? "LHLO" : "EHLO"} ${helo}`);
  if (hello.code !== 250) return refused("helo", hello);
  if (mail.user) {
    const login = await client.login(mail.user.name, mail.user.password);
    if (login.code !== 235) return refused("auth", login);
  }
  const sender = await client.command(`MAIL FROM:<${from}>`);
  if (sender.code !== 250) return refused("mail", sender);
  for (const address of typeof mail.to === "string" ? [mail.to] : mail.to) {
    const reply = await client.command(`RCPT TO:<${address}>`);
    recipients.push({ address, reply });
    if (reply.code === 421) return refused("rcpt", reply);
  }
  const kept = recipients.filter(({ reply }) => reply.code === 250);
  if (kept.length === 0) return refused("rcpt", recipients.at(-1)!.reply);
  const data = await client.command("DATA");
  if (data.code !== 354) return refused("data", data);
  const after = [await client.content(mail.content ?? "Subject: test\r\n\r\nHello.\r\n")];
  if (protocol === "lmtp") { for (const _ of kept.slice(1)) after.push(await client.reply()); }
  const accepted = after.find((reply) => reply.code < 300);
  if (!accepted) return refused("data", after[0]!, after);
  await client.command("QUIT");
  const id = /\S+$/.exec(accepted.text)?.[0] ?? "";
  return { outcome: "accepted", id, reply: accepted, recipients, replies: after };
}
