/** People who can log in, so that a test of a plugin needs no accounts. */
import { accept, definePlugin, type Plugin } from "../plugin.ts";

/**
 * Logs in whoever says one of these names, with any password, and lets them send to anyone, as the plugin `auth` does: an entry of
 * `testServer`'s plugins, for `server.send({ user: "alice@example.org", … })`.
 *
 * @param users Their names; absent: whatever name is said.
 *
 * @example
 * ```ts
 * import { logins, mailboxes, testServer } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 * await using server = await testServer({ plugins: [logins(["alice@example.org"]), mailboxes(["example.org"])] });
 * await server.send({ user: "alice@example.org", from: "alice@example.org", to: "bob@elsewhere.example" });
 * equal(server.sent[0]?.to[0], "bob@elsewhere.example");
 * equal((await server.send({ user: "mallory@example.org", to: "bob@elsewhere.example" })).reply.code, 535);
 * ```
 */
export function logins(users?: readonly string[]): Plugin {
  return definePlugin({
    name: "logins",
    setup(on) {
      on("auth", (_session, { user }) => !users || users.includes(user) ? accept({ user }) : undefined);
      on("rcpt", ({ user }) => user ? accept() : undefined);
    },
  }) as Plugin;
}
