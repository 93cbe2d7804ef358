/** The smallest server that keeps mail, for tests of what else a server does. */
import { basename } from "node:path";
import type { Folder } from "./folder.ts";
import { RawClient } from "./client.ts";

/** The configuration, with what a test adds or replaces. */
export function settings(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    hostname: "mx.example.test",
    state: "./state",
    listen: [{ port: 0, address: "127.0.0.1" }],
    log: { format: "json" },
    plugins: [maildir],
    ...more,
  };
}

/** Takes any name in example.test. */
export const maildir = {
  use: "maildir",
  with: { domains: ["example.test"], users: "any", path: "./mail/{domain}/{user}" },
};

/** Writes a configuration, one key a line; its path. */
export function writeSettings(folder: Folder, more: Record<string, unknown> = {}): Promise<string> {
  const lines = Object.entries(settings(more)).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`);
  return folder.write("postrider.yaml", lines.join(""));
}

/** Where `settings` keeps a user's mail. */
export function mailboxOf(folder: Folder, user: string): string {
  return folder.at("mail", "example.test", user);
}

/** Sends one message and leaves. @throws {Error} when it isn't accepted. */
export async function deliver(port: number, user: string, subject = basename(user)): Promise<void> {
  using client = await RawClient.connect(port);
  await client.say("EHLO client.test");
  await deliverOn(client, user, subject);
  await client.say("QUIT", 221);
}

/** Sends one message on a connection that stays open. */
export async function deliverOn(client: RawClient, user: string, subject: string): Promise<void> {
  await client.envelope("bob@elsewhere.test", `${user}@example.test`);
  await client.say(`Subject: ${subject}\r\n\r\nHello.\r\n.`);
}
