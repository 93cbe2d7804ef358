/** XCLIENT on a whole session: the proxy's own ends, the client's begins, and every plugin sees only the client. */
import { deepStrictEqual as deepEqual, match, strictEqual as equal } from "node:assert/strict";
import { memoryChannel } from "../server/channel/memory.ts";
import type { Introducer } from "../server/connection.ts";
import type { Generation, Instance } from "../server/generation.ts";
import { accept, type ClientCertificate, type Hooks, reject } from "../server/plugin.ts";
import { Sessions } from "../server/sessions.ts";
import { MemorySpool } from "../server/spool/memory.ts";
import { countingIds, FakeClock, memoryLog } from "../server/testing/mod.ts";

const via = { transport: "none" };

interface Rig {
  say(line: string): Promise<string>;
  raw(text: string): Promise<string>;
  send(text: string): Promise<void>;
  rest(): Promise<string>;
  readonly counted: string[];
}

/** A proxy at 10.0.0.5, greeted; `use` is over before the session is. */
async function proxied(
  handlers: Partial<Hooks>,
  use: (rig: Rig) => Promise<void>,
  { proxy = {}, mechanisms = [], trusted = [], shown }: {
    shown?: ClientCertificate;
    proxy?: Partial<Introducer> | "none";
    mechanisms?: Instance["mechanisms"];
    trusted?: readonly string[];
  } = {},
): Promise<void> {
  const clock = new FakeClock();
  const sessions = new Sessions({
    clock,
    log: memoryLog(),
    ids: countingIds(),
    newBody: () => {
      throw new Error("no message comes");
    },
    noRoom: () => undefined,
    spool: new MemorySpool(clock),
    draining: new AbortController().signal,
  });
  const instance: Instance = {
    name: "mine",
    handlers: { resolve: () => accept({ via }), ...handlers } as Instance["handlers"],
    timeout: 1000,
    onError: "defer",
    roles: ["mx", "submission"],
    mechanisms,
    observe: false,
  };
  const limits = {
    message: 1000,
    recipients: 10,
    errors: 10,
    refusedRecipients: 10,
    hops: 10,
    bareNewlines: "normalize",
  } as const;
  sessions.use(
    {
      hostname: "mx.example.org",
      limits,
      timeouts: { command: 1000, data: 1000 },
      trustedNetworks: [{ has: (address) => trusted.includes(address) }],
    },
    {
      number: 1,
      instances: [instance],
      owners: new Map(),
      transports: new Map(),
      dispose: () => Promise.resolve(),
    } satisfies Generation,
  );
  const counted: string[] = [];
  const introducer: Introducer = {
    login: "login-not-believed",
    countAs: (address) => {
      counted.push(address);
      return "admitted";
    },
    ...(proxy === "none" ? {} : proxy),
  };
  const remote = { address: "10.0.0.5", port: 999 };
  const { client, server } = memoryChannel({ remote, tls: shown ? "implicit" : "starttls" });
  if (shown) Object.defineProperty(server, "tls", { value: { ...server.tls, client: shown } });
  const traits = { role: "mx", protocol: "smtp", auth: true, allowPlain: false } as const;
  const over = sessions.serve(server, traits, proxy === "none" ? undefined : introducer);
  const reply = async () => {
    const text = await client.readReply();
    if (text === undefined) throw new Error("closed");
    return text.replaceAll(/\n[0-9]{3}[ -]/g, "|");
  };
  match(await reply(), /^220 /);
  await use({
    counted,
    async say(line) {
      await client.write(`${line}\r\n`);
      return await reply();
    },
    async raw(text) {
      await client.write(text);
      return await reply();
    },
    send: (text) => client.write(text),
    rest: reply,
  });
  client.close();
  await over;
  await sessions.close();
  deepEqual(clock.pending, [], "no timer stays");
}

const introduction = "XCLIENT ADDR=192.0.2.7 PORT=4711 HELO=client.example PROTO=SMTP NAME=[UNAVAILABLE]";

Deno.test("R03 XCLIENT the session begins anew: connect is asked of the client, and EHLO offers it no more", async () => {
  const seen: unknown[] = [];
  const handlers: Partial<Hooks> = {
    connect: ({ id, remote, trusted }) => void seen.push(["connect", id, remote, trusted]),
    helo: ({ helo }, name) => void seen.push(["helo", helo, name]),
    disconnect: ({ session, reason }) => void seen.push(["disconnect", session.remote.address, reason]),
  };
  await proxied(handlers, async ({ say, counted }) => {
    match(await say("EHLO proxy.example"), /\|XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT\|/);
    match(await say(introduction), /^220 mx\.example\.org/);
    equal((await say("EHLO proxy.example")).includes("XCLIENT"), false);
    match(await say(introduction), /^550 5\.7\.1|^550 /);
    match(await say("MAIL FROM:<>"), /^250 /);
    deepEqual(counted, ["192.0.2.7"]);
    match(await say("QUIT"), /^221 /);
  }, { trusted: ["10.0.0.5"] });
  const [proxy, client] = seen.filter((one) => (one as unknown[])[0] === "connect") as string[][];
  equal(proxy![1] === client![1], false, "each session has its own id");
  deepEqual(
    seen.map((one) => (one as unknown[]).filter((_, i) => i !== 1 || (one as unknown[])[0] !== "connect")),
    [
      ["connect", { address: "10.0.0.5", network: "10.0.0.0/24", port: 999 }, true],
      ["helo", "proxy.example", "proxy.example"],
      ["disconnect", "10.0.0.5", "quit"],
      ["connect", { address: "192.0.2.7", network: "192.0.2.0/24", port: 4711 }, false],
      ["helo", "client.example", "client.example"],
      ["disconnect", "192.0.2.7", "quit"],
    ],
  );
});

Deno.test("C04 R03 XCLIENT has room for long names", () =>
  proxied({ helo: (_session, name) => reject("5.7.1", `${name.length}`) }, async ({ say }) => {
    const [name, helo] = ["n".repeat(255), "h".repeat(255)];
    match(await say(`XCLIENT ADDR=192.0.2.7 NAME=${name} HELO=${helo} LOGIN=[UNAVAILABLE]`), /^220 /);
    match(await say("EHLO proxy.example"), /^550 255/);
  }));

Deno.test("R03 XCLIENT an objection to the client is the reply, and closes", () =>
  proxied({
    connect: ({ remote }) => remote.address === "192.0.2.7" ? reject("5.7.1", "Not you") : undefined,
  }, async ({ say, rest }) => {
    match(await say(introduction), /^554 .*Not you/);
    await rest().then(() => equal(true, false, "it goes on"), () => {});
  }));

Deno.test("R03 XCLIENT a certificate that the proxy has shown is not its client's", async () => {
  const seen: [address: string, subject: string | undefined][] = [];
  const connect: Hooks["connect"] = ({ remote, tls }) =>
    void seen.push([remote.address, tls?.client?.subject]);
  const shown = { fingerprint: "00".repeat(32), subject: "CN=proxy", names: [], trust: "trusted" } as const;
  await proxied({ connect }, async ({ say }) => {
    match(await say("EHLO proxy.example"), /^250/);
    match(await say(introduction), /^220 /);
  }, { shown });
  deepEqual(seen, [["10.0.0.5", "CN=proxy"], ["192.0.2.7", undefined]]);
});

Deno.test("R03 XCLIENT from nobody's proxy is refused, and not offered", () =>
  proxied({}, async ({ say }) => {
    equal((await say("EHLO c.example")).includes("XCLIENT"), false);
    match(await say(introduction), /^550 /);
    match(await say("MAIL FROM:<>"), /^250 /);
  }, { proxy: "none" }));

Deno.test("R03 XCLIENT is 501 where it is malformed and 503 in a transaction; neither changes anything", () => {
  const seen: string[] = [];
  return proxied({ mail: ({ remote }) => void seen.push(remote.address) }, async ({ say }) => {
    match(await say("EHLO proxy.example"), /^250/);
    match(await say("XCLIENT"), /^501 /);
    match(await say("XCLIENT ADDR=nowhere"), /^501 /);
    match(await say("XCLIENT PORT=25"), /^501 /);
    match(await say("MAIL FROM:<>"), /^250 /);
    match(await say(introduction), /^503 /);
    match(await say("RSET"), /^250 /);
    match(await say(introduction), /^503 /, "the proxy has begun to speak for itself");
    match(await say("MAIL FROM:<>"), /^250 /);
    deepEqual(seen, ["10.0.0.5", "10.0.0.5"]);
  });
});

Deno.test("P02 R03 what comes behind XCLIENT before our reply is no command", async () => {
  const seen: string[] = [];
  const handlers: Partial<Hooks> = { mail: ({ remote }) => void seen.push(remote.address) };
  await proxied(handlers, async ({ raw, rest }) => {
    match(await raw(`${introduction}\r\nEHLO c\r\nMAIL FROM:<>\r\n`), /^554 /);
    await rest().then(() => equal(true, false, "it goes on"), () => {});
  });
  // …also where they come while `connect` is being asked.
  const asked = Promise.withResolvers<void>(), go = Promise.withResolvers<void>();
  await proxied({
    ...handlers,
    connect: ({ remote }) => {
      if (remote.address !== "192.0.2.7") return;
      asked.resolve();
      return go.promise;
    },
  }, async ({ send, rest }) => {
    await send(`${introduction}\r\n`);
    await asked.promise;
    await send("EHLO c\r\nMAIL FROM:<>\r\n");
    go.resolve();
    match(await rest(), /^554 /);
    await rest().then(() => equal(true, false, "it goes on"), () => {});
  });
  deepEqual(seen, []);
});

Deno.test("R03 XCLIENT a client whose address nobody knows is in no network", () =>
  proxied({
    mail: ({ remote, trusted }) =>
      reject("5.7.1", `${remote.address} ${remote.network} ${remote.port} ${trusted}`),
  }, async ({ say, counted }) => {
    match(await say("XCLIENT ADDR=[UNAVAILABLE] PORT=77"), /^220 /);
    match(await say("EHLO c.example"), /^250/);
    match(await say("MAIL FROM:<>"), /unknown unknown 0 false/);
    deepEqual(counted, []);
  }, { trusted: ["10.0.0.5"] }));

Deno.test("X01 R03 XCLIENT too many connections of one client: 421", () =>
  proxied({}, async ({ say }) => {
    match(await say(introduction), /^421 /);
  }, { proxy: { countAs: () => "too-many-from-you" } }));

const login = "XCLIENT ADDR=192.0.2.7 LOGIN=alice@example.org";
const external: Partial<Hooks> = {
  auth: (_session, credentials) =>
    credentials.mechanism === "EXTERNAL" && credentials.user === "alice@example.org"
      ? accept({ user: "alice@example.org", sendAs: ["sales@example.org"] })
      : undefined,
  mail: ({ user }) => reject("5.7.1", `${user?.name} ${user?.sendAs}`),
};

Deno.test("R03 XCLIENT LOGIN is somebody only where it is believed and an account", async () => {
  const believed = { login: "login-believed" } as const;
  await proxied(external, async ({ say }) => {
    match(await say("EHLO proxy.example"), /XCLIENT .* LOGIN\|/);
    match(await say(login), /^220 /);
    match(await say("EHLO c.example"), /^250/);
    match(await say("MAIL FROM:<>"), /alice@example\.org sales@example\.org/);
  }, { proxy: believed, mechanisms: ["EXTERNAL"] });
  await proxied(external, async ({ say }) => {
    match(await say(login.replace("alice", "bob")), /^535 /);
  }, { proxy: believed, mechanisms: ["EXTERNAL"] });
  await proxied(external, async ({ say }) => {
    match(await say(login), /^550 /);
  }, { mechanisms: ["EXTERNAL"] });
  // A plugin that doesn't name the mechanism may refuse by it, not accept.
  await proxied(external, async ({ say }) => {
    match(await say(login), /^454 /);
  }, { proxy: believed, mechanisms: ["PLAIN"] });
});
