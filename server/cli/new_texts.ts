/** What `new plugin` writes: a plugin that does something, small enough to be replaced line by line. */

/** The files of a plugin. */
export function fileNames(name: string): { readonly plugin: string; readonly test: string } {
  return { plugin: `${name}.ts`, test: `${name}_test.ts` };
}

/** The plugin. */
export function pluginText(name: string): string {
  return `/** ${name}: refuses mail from some domains. */
import { definePlugin, reject, z } from "postrider";

export default definePlugin({
  name: "${name}",
  options: z.object({
    domains: z.array(z.string()).describe("Whose mail is refused"),
  }),
  setup(on, { domains }) {
    on("rcpt", (session, _recipient, { sender }) => {
      if (session.user) return; // no opinion: the next plugin speaks
      if (domains.includes(sender.domain)) return reject("5.7.1", "You are not welcome here");
    });
  },
});
`;
}

/** Its test. */
export function testText(name: string): string {
  return `import { strictEqual as equal } from "node:assert/strict";
import { logins, mailboxes, testServer } from "postrider/testing";
import plugin from "./${name}.ts";

const to = "alice@example.org";
const plugins = [[plugin, { domains: ["spam.example"] }], logins(), mailboxes([to])] as const;

Deno.test("${name}: a stranger from such a domain is refused", async () => {
  await using server = await testServer({ plugins });
  const sent = await server.send({ from: "eve@spam.example", to });
  equal(sent.reply.code, 550);
  equal(sent.reply.text, "You are not welcome here");
});

Deno.test("${name}: other mail arrives", async () => {
  await using server = await testServer({ plugins });
  await server.send({ from: "bob@elsewhere.example", to, headers: { Subject: "Hello" } });
  await server.send({ user: "carol@example.org", from: "eve@spam.example", to });
  equal(server.delivered.length, 2);
  equal(server.delivered[0]?.headers.get("Subject"), "Hello");
});
`;
}

/** Its lines in the configuration of a server. */
export function configurationOf(name: string): string {
  return `plugins:
  - use: ./${name}.ts
    with: { domains: [spam.example] }
`;
}

/** A deno.json that says where Postrider is. */
export function importsText(files: ReadonlyMap<string, string>): string {
  const imports = Object.fromEntries([...files].filter(([name]) => name !== "postrider/lint"));
  const lint = files.get("postrider/lint");
  return `${
    JSON.stringify({ imports, ...(lint !== undefined && { lint: { plugins: [lint] } }) }, null, 2)
  }\n`;
}
