/** Sending by LMTP to real sockets, TCP's and Unix', and what keeps sessions apart. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import type { Hop, HopAuth } from "../../../server/plugin.ts";
import { sender, short } from "./kit.ts";
import { type Behaviour, startPeer } from "./peer.ts";

const host = "127.0.0.1";
const users = ["a@example.org", "b@example.org", "c@example.org"];

/** What a mailbox server says of three users: one has it, one is full, one is unknown. */
const mailboxes: Behaviour = {
  offers: ["PIPELINING"],
  reply: (command) =>
    command.startsWith("RCPT TO:<c@")
      ? "550 5.1.1 no such user"
      : command.startsWith(". RCPT TO:<b@")
      ? "452 4.2.2 mailbox full"
      : undefined,
};

Deno.test("LMTP: an outcome for each recipient, over one connection that is kept", async () => {
  for (const offers of [["PIPELINING"], ["PIPELINING", "CHUNKING"], []]) {
    await using peer = await startPeer({ ...mailboxes, offers });
    await using us = sender({ config: {} });
    const destination = us.delivery.destinationOf("example.org", [{
      host,
      port: peer.port,
      protocol: "lmtp",
    }]);
    for (let n = 1; n <= 3; n++) {
      const results = await us.send(users, { destination });
      deepEqual(short(results), ["delivered", "deferred 4.2.2 message", "failed 5.1.1"]);
      equal(results[0]!.outcome === "delivered" && results[0]!.protocol, "lmtp");
      equal(results[0]!.reply, "250 2.0.0 in the mailbox");
      deepEqual(peer.messages.at(-1)!.rcpt, ["RCPT TO:<a@example.org>"]);
    }
    equal(peer.connections, 1);
    equal(peer.lines[0], "[0] LHLO us.example.net");
  }
});

Deno.test("LMTP: a large message in pieces has a reply for each recipient, too", async () => {
  await using peer = await startPeer(mailboxes);
  await using us = sender({ config: {} });
  const destination = us.delivery.destinationOf("example.org", [{ host, port: peer.port, protocol: "lmtp" }]);
  const piece = new TextEncoder().encode(`${"x".repeat(98)}\r\n`);
  const content = () => ({
    async *[Symbol.asyncIterator]() {
      for (let n = 0; n < 3000; n++) yield piece;
    },
  });
  const results = await us.send(users, { destination, content, size: 300_000 });
  deepEqual(short(results), ["delivered", "deferred 4.2.2 message", "failed 5.1.1"]);
  equal(peer.messages[0]!.content.length, 300_000);
});

Deno.test("O04 LMTP: lost between the replies: who has it has it, the others are tried again", async () => {
  await using peer = await startPeer({
    reply: (command) => command.startsWith(". RCPT TO:<b@") ? "drop" : undefined,
  });
  await using us = sender({ config: {} });
  const destination = us.delivery.destinationOf("example.org", [{ host, port: peer.port, protocol: "lmtp" }]);
  const results = await us.send(users, { destination });
  deepEqual(short(results), [
    "delivered",
    "deferred 4.4.2 possible-duplicate",
    "deferred 4.4.2 possible-duplicate",
  ]);
});

Deno.test("LMTP over a Unix socket; and SMTP, for whoever listens so", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/lmtp`;
    await using peer = await startPeer(mailboxes, path);
    await using us = sender({ config: { tls: { "*": "required" } } });
    const hop: Hop = { path, protocol: "lmtp" };
    const destination = us.delivery.destinationOf("example.org", [hop]);
    equal(destination.key, `${path} lmtp`);
    for (let n = 0; n < 2; n++) {
      const results = await us.send(users, { destination });
      deepEqual(short(results), ["delivered", "deferred 4.2.2 message", "failed 5.1.1"]);
      equal(results[0]!.host, path);
    }
    equal(peer.connections, 1);
    const smtp = us.delivery.destinationOf("example.org", [{ path }]);
    deepEqual(short(await us.send(users[0]!, { destination: smtp })), ["delivered"]);
    equal(peer.lines.at(-3), "[1] MAIL FROM:<a@example.com>", "not the LMTP session");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a Unix socket that isn't there, or that nobody listens on, is tried again later", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/gone`;
    await using us = sender({ config: {} });
    const destination = us.delivery.destinationOf("example.org", [{ path, protocol: "lmtp" }]);
    const [missing] = await us.send("a@example.org", { destination });
    deepEqual(short([missing!]), ["deferred 4.4.1 connect down"]);
    match(missing!.reply, /^There is no such socket \(.*\/gone\)$/);
    await Deno.writeTextFile(path, "no socket"); // as refused as one that nobody listens on
    const [refused] = await us.send("a@example.org", { destination });
    deepEqual(short([refused!]), ["deferred 4.4.1 connect down"]);
    match(refused!.reply, /^Connection refused/);
    await using peer = await startPeer(mailboxes, `${folder}/there`);
    const both: Hop[] = [{ path }, { path: `${folder}/there`, protocol: "lmtp" }];
    const failover = us.delivery.destinationOf("example.org", both);
    deepEqual(short(await us.send("a@example.org", { destination: failover })), ["delivered"]);
    equal(peer.messages.length, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("hops of a plugin log in; who says another password gets no session of another's", async () => {
  const right = btoa("\0u\0right");
  await using peer = await startPeer({
    offers: ["PIPELINING", "AUTH PLAIN"],
    reply: (command) =>
      command.startsWith("AUTH") && command !== `AUTH PLAIN ${right}` ? "535 5.7.8 no" : undefined,
  });
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, "right\n");
  await using us = sender({ config: {} });
  const send = (auth: HopAuth | undefined, protocol: "smtp" | "lmtp" = "smtp") => {
    const hop: Hop = { host, port: peer.port, tls: "none", auth, protocol };
    return us.send("b@example.org", { destination: us.delivery.destinationOf("example.org", [hop]) });
  };
  deepEqual(short(await send({ user: "u", password: "right" })), ["delivered"]);
  deepEqual(short(await send({ user: "u", password: "right" })), ["delivered"]);
  equal(peer.connections, 1);
  deepEqual(short(await send({ user: "u", password: "wrong" })), ["deferred 4.7.8 auth down"]);
  deepEqual(short(await send({ user: "u", passwordFile: file })), ["delivered"]);
  deepEqual(short(await send(undefined)), ["delivered"]);
  deepEqual(short(await send({ user: "u", password: "right" }, "lmtp")), ["delivered"]);
  equal(peer.connections, 5, "each has its own, the wrong password none");
  ok(!us.log.some((line) => /right|wrong/.test(JSON.stringify(line))), "no password in the log");
  // Without a word about TLS, nobody gets a password in the clear.
  const hop: Hop = { host, port: peer.port, auth: { user: "u", password: "right" } };
  const destination = us.delivery.destinationOf("example.org", [hop]);
  deepEqual(short(await us.send("b@example.org", { destination })), ["deferred 4.7.5 tls down"]);
  await Deno.remove(file);
});
