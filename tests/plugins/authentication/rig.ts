/** Keys, records and messages for tests of mail authentication. */
import { generateKeyPairSync } from "node:crypto";
import { readKey, type SigningKey } from "../../../plugins/authentication/keys.ts";
import type { FakeName, Sent, TestPlugin, TestServerOptions } from "../../../server/testing/mod.ts";
import { mailboxes, type TestServer, testServer } from "../../../server/testing/mod.ts";

/** A private key as PEM. */
export function newKey(type: "rsa" | "ed25519" = "ed25519", bits = 2048): string {
  const { privateKey } = type === "rsa"
    ? generateKeyPairSync("rsa", { modulusLength: bits })
    : generateKeyPairSync("ed25519");
  return privateKey.export({ type: "pkcs8", format: "pem" }) as string;
}

/** A key in a file, and its record. */
export interface KeyFile extends AsyncDisposable {
  readonly file: string;
  readonly key: SigningKey;
  /** The DNS of its record, for `testServer`. */
  dns(domain: string, selector: string): Record<string, FakeName>;
}

/** Writes a new key. */
export async function keyFile(type: "rsa" | "ed25519" = "ed25519", bits?: number): Promise<KeyFile> {
  const file = await Deno.makeTempFile({ suffix: ".pem" });
  const pem = newKey(type, bits);
  await Deno.writeTextFile(file, pem);
  const key = await readKey(file, pem);
  return {
    file,
    key,
    dns: (domain, selector) => ({ [`${selector}._domainkey.${domain}`]: { TXT: [key.record] } }),
    [Symbol.asyncDispose]: () => Deno.remove(file),
  };
}

/** A letter from Alice. */
export const letter = [
  "From: Alice <alice@example.net>",
  "To: bob@example.org",
  "Subject: A letter",
  "Date: Sat, 21 Nov 2026 10:00:00 +0000",
  "Message-ID: <1@example.net>",
  "",
  "Hello Bob,",
  "",
  "all is  well. ",
  "",
  "",
].join("\r\n");

/** A server for `example.org`, with these plugins above its mailboxes. */
export function server(
  plugins: readonly TestPlugin[],
  dns: Record<string, FakeName> = {},
  options: Partial<TestServerOptions> = {},
): Promise<TestServer> {
  return testServer({ ...options, plugins: [...plugins, mailboxes(["example.org"])], dns });
}

/** The server's own results on what was delivered last: one field, unfolded. */
export function results(server: TestServer): string {
  const { content } = server.delivered.at(-1)!;
  const [field = "", ...others] = [
    ...content.matchAll(/^Authentication-Results: mx\.example\.org(?:;.*(?:\r\n[ \t].*)*)?/gm),
  ]
    .map(([text]) => text.replaceAll("\r\n", ""));
  if (others.length > 0) throw new Error(`${others.length + 1} fields in our name`);
  return field.replace("Authentication-Results: ", "");
}

/** What the client was told. */
export const told = ({ reply }: Sent) => `${reply.code} ${reply.status} ${reply.text}`;

/** Signs a letter of Alice's through a server of its own, and gives it as it would leave. */
export async function signed(
  keys: readonly { domain: string; selector: string; key: string }[],
  content: string = letter,
): Promise<string> {
  await using signing = await testServer({
    plugins: [["dkim-sign", { keys }], mailboxes(["example.org"])],
    trustedNetworks: ["192.0.2.0/24"],
  });
  const sent = await signing.send({ from: "alice@example.net", to: "bob@example.org", content });
  if (sent.outcome !== "accepted") throw new Error(told(sent));
  return signing.delivered[0]!.content.replace(
    /^(?:(?:Return-Path|Delivered-To|Received):.*\r\n(?:[ \t].*\r\n)*)+/,
    "",
  );
}
