/**
 * The plugins against abuse, as strangers meet them: a server of its own each, clients from networks of the documentation
 * (RFC 5737), whose addresses are told by the PROXY protocol, and a DNS server that has their names and lists them.
 */
import { match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { listMaildir, onlyMessage } from "./mailbox.ts";
import { startNsd } from "./nsd.ts";
import { run } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { deliverOn, mailboxOf, maildir, writeSettings } from "./small_server.ts";

/** A server that keeps mail for example.test, behind these plugins. */
async function startBehind(
  folder: Folder,
  plugins: readonly unknown[],
  more: Record<string, unknown> = {},
): Promise<ServerProcess> {
  const listed = { proxies: { haproxy: ["127.0.0.1"] }, plugins: [...plugins, maildir], ...more };
  return await ServerProcess.start(await writeSettings(folder, listed));
}

/** What a proxy says of a client, and what the client says without waiting. */
const from = (address: string, early = "") => `PROXY TCP4 ${address} 127.0.0.1 40000 25\r\n${early}`;

/** A client from an address, greeted. */
async function stranger(server: ServerProcess, address: string): Promise<RawClient> {
  const client = await RawClient.connect(server.port(), from(address));
  await client.say("EHLO client.test");
  return client;
}

/** What it hears to a recipient. */
async function asks(server: ServerProcess, address: string, to = "alice@example.test"): Promise<string> {
  using client = await stranger(server, address);
  await client.say("MAIL FROM:<bob@elsewhere.test>");
  const heard = await replyTo(client, `RCPT TO:<${to}>`);
  await client.say("QUIT", 221);
  return heard;
}

/** The last line of the reply to a command, whatever it is. */
async function replyTo(client: RawClient, command: string): Promise<string> {
  await client.send(`${command}\r\n`);
  const { code, lines } = await client.reply();
  return `${code} ${lines.at(-1)}`;
}

const swaks = (server: ServerProcess, ...more: string[]) =>
  run("swaks", [
    ...[
      "--server",
      "127.0.0.1",
      "--port",
      String(server.port()),
      "--helo",
      "client.test",
      "--timeout",
      "30s",
    ],
    ...["--from", "bob@elsewhere.test", "--to", "alice@example.test", ...more],
  ]);

// ── limits ─────────────────────────────────────────────────────────────────────────────────────────

Deno.test("limits: so many messages of an address and no more, after a restart either; others don't notice", async () => {
  await using folder = await makeFolder();
  const plugins = [{ use: "limits", with: { messages: { address: "3/1h" } } }];
  {
    await using server = await startBehind(folder, plugins);
    using client = await stranger(server, "192.0.2.1");
    for (let i = 0; i < 3; i++) await deliverOn(client, "alice", `message ${i}`);
    match(
      await replyTo(client, "MAIL FROM:<bob@elsewhere.test>"),
      /^451 4\.7\.0 Too many messages from your address/,
    );
    using other = await stranger(server, "192.0.2.2");
    await deliverOn(other, "alice", "another address");
    await server.logged("refused", ({ ip }) => ip === "192.0.2.1");
    equal(await server.stop(), 0);
  }
  await using server = await startBehind(folder, plugins);
  using again = await stranger(server, "192.0.2.1");
  match(await replyTo(again, "MAIL FROM:<bob@elsewhere.test>"), /^451 4\.7\.0 /);
  equal((await listMaildir(mailboxOf(folder, "alice"))).length, 4);
});

Deno.test("limits: connections and recipients; an exempt network has no limits", async () => {
  await using folder = await makeFolder();
  const rates = {
    connections: { address: "2/1h" },
    recipients: { network: "2/1h" },
    exempt: ["198.51.100.0/24"],
  };
  await using server = await startBehind(folder, [{ use: "limits", with: rates }]);
  match(await asks(server, "192.0.2.1"), /^250 /);
  match(await asks(server, "192.0.2.1"), /^250 /);
  await rejects(stranger(server, "192.0.2.1"), /421 Too many connections from your address/);
  match(
    await asks(server, "192.0.2.77"),
    /^451 4\.7\.0 Too many recipients from your network/,
    "the same /24",
  );
  match(await asks(server, "203.0.113.1"), /^250 /);
  for (let i = 0; i < 4; i++) match(await asks(server, "198.51.100.1"), /^250 /);
});

// ── greylist ───────────────────────────────────────────────────────────────────────────────────────

Deno.test("greylist: who tries again is let in, and known from then on, after a restart, too", async () => {
  await using folder = await makeFolder();
  const plugins = [{ use: "greylist", with: { wait: "1s" } }];
  {
    await using server = await startBehind(folder, plugins);
    match(await asks(server, "192.0.2.1"), /^451 4\.7\.1 Greylisted, please try again in 1 seconds/);
    match(
      await asks(server, "192.0.2.1", "postmaster@example.test"),
      /^250 /,
      "postmaster is always reached",
    );
    equal(await server.stop(), 0);
  }
  await using server = await startBehind(folder, plugins);
  // As a mail server does, only sooner: until it is taken. Another sender's first attempt is put off all the while.
  let tries = 1;
  while (!/^250 /.test(await asks(server, "192.0.2.1"))) ok(++tries < 10_000);
  match(await asks(server, "198.51.100.1"), /^451 4\.7\.1 Greylisted/);
  match(await asks(server, "192.0.2.99"), /^250 /, "the network counts, not the address");
});

Deno.test("greylist: swaks is put off and leaves no mail; from a network of `networks` it delivers", async () => {
  await using folder = await makeFolder();
  const greylisting = (networks: string[]) => ({
    proxies: {},
    plugins: [{ use: "greylist", with: { networks } }, maildir],
  });
  {
    await using server = await ServerProcess.start(await writeSettings(folder, greylisting([])));
    const { code, stdout } = await swaks(server);
    equal(code, 24, stdout); // no recipient was accepted
    match(stdout, /451 4\.7\.1 Greylisted, please try again in 300 seconds/);
    equal((await listMaildir(mailboxOf(folder, "alice"))).length, 0);
    equal(await server.stop(), 0);
  }
  await using server = await ServerProcess.start(await writeSettings(folder, greylisting(["127.0.0.0/8"])));
  const { code, stdout } = await swaks(server);
  equal(code, 0, stdout);
  await onlyMessage(mailboxOf(folder, "alice"));
});

// ── dnsbl, fcrdns ──────────────────────────────────────────────────────────────────────────────────

const lists = {
  "bl.test": `
5.2.0.192  A 127.0.0.2
5.2.0.192  TXT "Spam was seen; see https://bl.test/192.0.2.5"
6.2.0.192  A 127.0.0.2
7.2.0.192  A 127.255.255.254
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2 A 127.0.0.4
`,
  "wl.test": "6.2.0.192 A 127.0.10.2\n",
  "lame.test": undefined, // a list that can't be asked
};

Deno.test("dnsbl: an address on a list is refused with what the list says; an allow list and a list's own error weigh against that", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const nsd = undo.use(await startNsd(folder, lists));
  const asked = [{ zone: "bl.test" }, { zone: "lame.test" }, { zone: "wl.test", weight: -1 }];
  const server = undo.use(
    await startBehind(folder, [{ use: "dnsbl", with: { lists: asked } }], {
      dns: { servers: [nsd.address] },
    }),
  );
  match(
    await asks(server, "192.0.2.5"),
    /^550 5\.7\.1 192\.0\.2\.5 is listed by bl\.test: Spam was seen; see https:\/\/bl\.test\/192\.0\.2\.5/,
  );
  match(await asks(server, "192.0.2.5", "abuse@example.test"), /^250 /, "who is listed can complain");
  match(await asks(server, "192.0.2.6"), /^250 /, "on the allow list, too");
  match(await asks(server, "192.0.2.7"), /^250 /, "127.255.255.254 is no listing");
  match(await asks(server, "192.0.2.8"), /^250 /, "on no list, and one of them can't say");
  await server.logged("a DNS list refuses to answer this server: its page says what the code means");
  await server.logged("a DNS list could not be asked", ({ list }) => list === "lame.test");
  using six = await RawClient.connect(server.port(), "PROXY TCP6 2001:db8::1 ::1 40000 25\r\n");
  await six.say("EHLO client.test");
  await six.say("MAIL FROM:<bob@elsewhere.test>");
  match(await replyTo(six, "RCPT TO:<alice@example.test>"), /^550 5\.7\.1 2001:db8::1 is listed by bl\.test/);
});

Deno.test("fcrdns: no name, a name that leads elsewhere, and one that leads back; DNS trouble is no reason", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const nsd = undo.use(
    await startNsd(folder, {
      "2.0.192.in-addr.arpa": "1 PTR good.names.test.\n2 PTR liar.names.test.\n4 PTR host.lame.test.\n",
      "names.test": "good A 192.0.2.1\nliar A 192.0.2.99\n",
      "lame.test": undefined,
    }),
  );
  const fcrdns = { use: "fcrdns", with: { refuse: ["fail", "permerror"] } };
  const server = undo.use(await startBehind(folder, [fcrdns], { dns: { servers: [nsd.address] } }));
  match(await asks(server, "192.0.2.2"), /^550 5\.7\.25 No name of 192\.0\.2\.2 in the DNS leads back to it/);
  match(await asks(server, "192.0.2.3"), /^550 5\.7\.25 192\.0\.2\.3 has no name in the DNS/);
  match(await asks(server, "192.0.2.3", "postmaster@example.test"), /^250 /);
  match(await asks(server, "192.0.2.4"), /^250 /, "SERVFAIL");
  using client = await stranger(server, "192.0.2.1");
  await deliverOn(client, "alice", "with a name");
  const { bytes } = await onlyMessage(mailboxOf(folder, "alice"));
  match(
    bytes.toString(),
    /^Authentication-Results: mx\.example\.test;\s+iprev=pass \(good\.names\.test\)\s+policy\.iprev=192\.0\.2\.1\n/m,
  );
});

// ── earlytalker, tarpit ────────────────────────────────────────────────────────────────────────────

Deno.test("C01 earlytalker: who speaks first is told so and closed; who waits is greeted, and at once the next time", async () => {
  await using folder = await makeFolder();
  await using server = await startBehind(folder, [{ use: "earlytalker", with: { wait: "2s" } }]);
  await rejects(
    RawClient.connect(server.port(), from("192.0.2.1", "EHLO spam.test\r\n")),
    /554 You spoke before you were greeted/,
  );
  const began = performance.now();
  (await stranger(server, "192.0.2.2"))[Symbol.dispose]();
  ok(performance.now() - began >= 2000, "it was greeted too early");
  // A stranger who waits is overtaken by one who has waited before.
  const order: string[] = [];
  const connecting = ["192.0.2.3", "192.0.2.2"].map(async (address) => {
    (await stranger(server, address))[Symbol.dispose]();
    order.push(address);
  });
  await Promise.all(connecting);
  equal(order.join(" then "), "192.0.2.2 then 192.0.2.3");
});

Deno.test("tarpit: who tries out names waits longer and longer; nobody else does", async () => {
  await using folder = await makeFolder();
  const known = { ...maildir, with: { ...maildir.with, users: ["alice"] } };
  const plugins = [{ use: "tarpit", with: { free: 2, delay: "1s" } }, known];
  await using server = await startBehind(folder, [], { plugins });
  using guesser = await stranger(server, "192.0.2.1");
  await guesser.say("MAIL FROM:<bob@elsewhere.test>");
  for (const name of ["anna", "anton", "april"]) {
    match(await replyTo(guesser, `RCPT TO:<${name}@example.test>`), /^550 5\.1\.1 /);
  }
  const began = performance.now();
  const slow = replyTo(guesser, "RCPT TO:<arthur@example.test>").then((heard) => {
    match(heard, /^550 5\.1\.1 /);
    return performance.now() - began;
  });
  await server.logged("client is slowed down", ({ network }) => network === "192.0.2.0/24");
  const others = asks(server, "198.51.100.1").then((heard) => {
    match(heard, /^250 /);
    return "others" as const;
  });
  equal(await Promise.race([slow.then(() => "guesser" as const), others]), "others");
  ok(await slow >= 1000, "it has waited");
});
