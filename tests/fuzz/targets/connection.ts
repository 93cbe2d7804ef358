/** A whole server in memory, plugins, queue and all, whose clients say anything: only replies, no error in the log, and what it said yes to is there. */
import { accept, definePlugin } from "../../../server/plugin.ts";
import { mailboxes, type TestServer, testServer } from "../../../server/testing/mod.ts";
import { dialogSeeds } from "../seeds.ts";
import { must, octets, type Target } from "../target.ts";

const users = definePlugin({
  name: "users",
  setup(on) {
    on("auth", (_session, credentials) => accept({ user: credentials.user }));
    on("rcpt", ({ user }) => user ? accept() : undefined);
  },
});

/** A server serves many connections here, as it does elsewhere, and goes before it has too much mail. */
const served = 200;
let running: { readonly server: TestServer; connections: number } | undefined;

async function serverFor(): Promise<TestServer> {
  if (running !== undefined && running.connections++ < served) return running.server;
  await running?.server[Symbol.asyncDispose]();
  const server = await testServer({
    plugins: [users, mailboxes(["alice@example.org", "bob@example.org"])],
    limits: { message: "4KiB" },
  });
  running = { server, connections: 1 };
  return server;
}

/** Ends the server that the last connections went to. */
export async function closeServer(): Promise<void> {
  await running?.server[Symbol.asyncDispose]();
  running = undefined;
}

export const connection: Target = {
  name: "connection",
  holds:
    "a whole server gives only replies, logs no error of its own, and keeps as many messages as it said it did",
  seeds: dialogSeeds,
  async try(input, random) {
    const server = await serverFor();
    const [logged, delivered] = [server.log.entries.length, server.delivered.length];
    const client = server.connect({
      role: random.chance(0.3) ? "submission" : "mx",
      tls: random.pick(["none", "implicit"]),
      auth: true,
      ip: `192.0.2.${1 + random.below(200)}`,
    });
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < input.length;) {
      const end = random.chance(0.5) ? at + 1 + random.below(200) : nextLine(input, at);
      pieces.push(input.slice(at, end));
      at = end;
    }
    const said = listen(client);
    for (const piece of pieces) await client.send(piece).catch(() => {});
    client.end();
    await client.closed;
    const all = await said;
    for (const line of all) {
      must(/^[2-5]\d\d[ -][\x20-\x7e]{0,506}$/.test(line), () => `no reply: ${JSON.stringify(line)}`);
    }
    await server.settled();
    const known = [...server.delivered.slice(delivered), ...server.sent, ...await server.queue()].map((
      { id },
    ) => id);
    for (const line of all) {
      const [, id] = /^250 2\.0\.0 Queued as (.*)$/.exec(line) ?? [];
      must(id === undefined || known.includes(id), () => `said yes to ${id}, and nobody has it`);
    }
    const errors = server.log.entries.slice(logged).filter(({ level }) => level === "error");
    must(errors.length === 0, () => `logged ${JSON.stringify(errors[0])}`);
  },
};

async function listen(client: Awaited<ReturnType<TestServer["connect"]>>): Promise<string[]> {
  const lines: string[] = [];
  for (;;) {
    const line = await client.line().catch(() => undefined);
    if (line === undefined) return lines;
    lines.push(line);
  }
}

function nextLine(bytes: Uint8Array, from: number): number {
  const feed = bytes.indexOf(octets("\n")[0]!, from);
  return feed < 0 ? bytes.length : feed + 1;
}
