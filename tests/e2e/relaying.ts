/** A server that sends mail on: from loopback to anywhere, and keeps what is for example.test. */
import { RawClient } from "./client.ts";
import { maildir } from "./small_server.ts";

/** Who may send to anybody: tests do. */
export const relay = { use: "relay", with: { networks: ["127.0.0.0/8"] } };

/** Its settings; domains that aren't named in `route` are looked up. */
export function relaying(
  outbound: Record<string, unknown>,
  more: Record<string, unknown> = {},
): Record<string, unknown> {
  return { plugins: [relay, maildir], outbound: { retry: ["1h"], ...outbound }, ...more };
}

/** The route to a port of this machine. */
export function toPort(port: number): { readonly host: string; readonly port: number } {
  return { host: "127.0.0.1", port };
}

/** Alice sends one message. @returns its queue id. @throws {Error} when it isn't accepted. */
export async function submit(
  port: number,
  to: string | readonly string[],
  { subject = "Hello", from = "alice@example.test", mailParams = "", rcptParams = "" } = {},
): Promise<string> {
  using client = await RawClient.connect(port);
  await client.say("EHLO client.test");
  await client.say(`MAIL FROM:<${from}>${mailParams && ` ${mailParams}`}`);
  for (const address of [to].flat()) {
    await client.say(`RCPT TO:<${address}>${rcptParams && ` ${rcptParams}`}`);
  }
  await client.say("DATA", 354);
  const id = await endContent(client, `From: <alice@example.test>\r\nSubject: ${subject}\r\n\r\nHello.\r\n`);
  await client.say("QUIT", 221);
  return id;
}

/** Sends content and the final dot. @returns the queue id. */
export async function endContent(client: RawClient, content: string): Promise<string> {
  const { lines: [text] } = await client.say(`${content}.`);
  const id = / ([0-9A-Za-z]+)$/.exec(text!)?.[1];
  if (id === undefined) throw new Error(`the reply should name the message: ${text}`);
  return id;
}
