/** Sending by SMTP to real sockets: connections, addresses, sessions, and what becomes of each recipient. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { content, sender, short } from "./kit.ts";
import { startPeer } from "./peer.ts";

const to = (port: number) => ({ route: { "*": { host: "127.0.0.1", port } } });

Deno.test("messages go over one kept connection, which ends with QUIT", async () => {
  await using peer = await startPeer();
  {
    await using us = sender({ config: to(peer.port) });
    for (let n = 0; n < 3; n++) {
      const [result] = await us.send("b@example.org");
      deepEqual(result, {
        outcome: "delivered",
        status: "2.0.0",
        reply: "250 2.0.0 kept",
        host: `[127.0.0.1]:${peer.port}`,
        tls: undefined,
        verified: false,
        dsnOffered: false,
        protocol: "smtp",
      });
    }
  }
  equal(peer.connections, 1);
  equal(peer.messages.length, 3);
  equal(peer.messages[0]!.content, content.replace("\r\n.", "\r\n.."));
  await peer.untilLine(/QUIT/);
  equal(peer.lines[0], "[0] EHLO us.example.net");
});

Deno.test("parallel messages have connections of their own, and keep them", async () => {
  await using peer = await startPeer({ offers: ["PIPELINING", "CHUNKING"] });
  await using us = sender({ config: to(peer.port) });
  for (let round = 0; round < 3; round++) {
    await Promise.all(Array.from({ length: 5 }, () => us.send("b@example.org")));
  }
  equal(peer.connections, 5);
  equal(peer.messages.length, 15);
  ok(peer.messages.every((message) => message.content === content));
});

Deno.test("an idle connection ends after five seconds, with QUIT", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: to(peer.port) });
  await us.send("b@example.org");
  await us.clock.advance(4000);
  await us.send("b@example.org");
  equal(peer.connections, 1);
  await us.clock.advance(6100);
  await peer.untilLine(/QUIT/);
  await us.send("b@example.org");
  equal(peer.connections, 2);
});

Deno.test("a connection carries a hundred messages, or lives for five minutes", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: to(peer.port) });
  for (let n = 0; n < 101; n++) await us.send("b@example.org");
  equal(peer.connections, 2);
  for (let s = 0; s < 300; s += 4) {
    await us.clock.advance(4000);
    await us.send("b@example.org");
  }
  equal(peer.connections, 2);
  await us.send("b@example.org");
  equal(peer.connections, 3);
});

Deno.test("domains that lead to one host share its connections; the MX is asked for by the first that needs one", async () => {
  await using peer = await startPeer();
  const names = {
    "one.example": { MX: [{ preference: 10, host: "mx.example" }] },
    "two.example": { MX: [{ preference: 10, host: "mx.example" }] },
    "mx.example": { A: ["127.0.0.1"] },
  };
  await using us = sender({ config: { port: peer.port, allowPrivateAddresses: true }, names });
  const [first] = await us.send("b@one.example");
  equal(first?.outcome === "delivered" && first.host, `mx.example[127.0.0.1]:${peer.port}`);
  await us.send("b@one.example");
  equal(us.asked.filter((question) => question.startsWith("MX")).length, 1);
  await us.send("b@two.example");
  equal(peer.connections, 1);
});

Deno.test("O02 a refused connection, a refusing greeting: the next address", async () => {
  await using peer = await startPeer((n) =>
    n === 0 ? { greeting: "554 no" } : n === 1 ? { greeting: "450 later" } : {}
  );
  const names = {
    "example.org": {
      MX: [{ preference: 30, host: "c.example" }, { preference: 10, host: "a.example" }, {
        preference: 20,
        host: "b.example",
      }],
    },
    "a.example": { A: ["127.0.0.2"] }, // nobody listens there
    "b.example": { A: ["127.0.0.1"] },
    "c.example": { A: ["127.0.0.1"] },
  };
  const config = { port: peer.port, allowPrivateAddresses: true };
  await using us = sender({ config, names });
  deepEqual(short(await us.send("b@example.org")), ["deferred 4.0.0 greeting down"]);
  deepEqual(short(await us.send("b@example.org")), ["delivered"]);
});

Deno.test("O02 five addresses a message at most", async () => {
  await using peer = await startPeer({ greeting: "421 no" });
  const hosts = Array.from({ length: 8 }, (_, n) => `mx${n}.example`);
  const names = {
    "example.org": { MX: hosts.map((host, n) => ({ preference: n, host })) },
    ...Object.fromEntries(hosts.map((host) => [host, { A: ["127.0.0.1"] }])),
  };
  await using us = sender({ config: { port: peer.port, allowPrivateAddresses: true }, names });
  const [result] = await us.send("b@example.org");
  deepEqual(short([result!]), ["deferred 4.0.0 greeting down"]);
  equal(result?.reply, "421 no");
  equal(peer.connections, 5);
});

Deno.test("O02 two sessions a message at most", async () => {
  await using peer = await startPeer({
    reply: (command) => command.startsWith("MAIL") ? "421 4.3.2 no" : undefined,
  });
  const hosts = Array.from({ length: 4 }, (_, n) => `mx${n}.example`);
  const names = {
    "example.org": { MX: hosts.map((host, n) => ({ preference: n, host })) },
    ...Object.fromEntries(hosts.map((host) => [host, { A: ["127.0.0.1"] }])),
  };
  await using us = sender({ config: { port: peer.port, allowPrivateAddresses: true }, names });
  deepEqual(short(await us.send("b@example.org")), ["deferred 4.3.2 lost"]);
  equal(peer.connections, 2);
});

Deno.test("O02 an address that failed a moment ago is tried after the others", async () => {
  let greeting = "220 yes";
  await using peer = await startPeer(() => ({ greeting }));
  const tried: string[] = [];
  const { dial } = await import("../../../server/delivery/smtp/dial.ts");
  const names = {
    "example.org": { MX: [{ preference: 10, host: "a.example" }, { preference: 20, host: "b.example" }] },
    "a.example": { A: ["127.0.0.2"] },
    "b.example": { A: ["127.0.0.1"] },
  };
  await using us = sender({
    config: { port: peer.port, allowPrivateAddresses: true },
    names,
    dial: (how) => {
      tried.push(how.address);
      return dial(how);
    },
  });
  await us.send("b@example.org");
  deepEqual(tried.splice(0), ["127.0.0.2", "127.0.0.1"]);
  await us.clock.advance(7000); // the connection is not kept so long
  await us.send("b@example.org");
  deepEqual(tried.splice(0), ["127.0.0.1"]);
  await us.clock.advance(7000);
  greeting = "421 no";
  await us.send("b@example.org");
  deepEqual(tried.splice(0), ["127.0.0.1", "127.0.0.2"]); // behind the others, but tried
  greeting = "220 yes";
  await us.clock.advance(60_000);
  await us.send("b@example.org");
  deepEqual(tried.splice(0), ["127.0.0.2", "127.0.0.1"]);
});

Deno.test("O03 mixed replies: each recipient once; those left over go on at the next host", async () => {
  await using peer = await startPeer((n) => ({
    reply: (command) =>
      command.includes("bad@")
        ? "550 5.1.1 no such user"
        : command.includes("slow@")
        ? "450 4.2.0 greylisted"
        : command.includes("last@") && n === 0
        ? "421 4.3.2 going down"
        : undefined,
  }));
  const names = {
    "example.org": { MX: [{ preference: 10, host: "a.example" }, { preference: 20, host: "b.example" }] },
    "a.example": { A: ["127.0.0.1"] },
    "b.example": { A: ["127.0.0.1"] },
  };
  await using us = sender({ config: { port: peer.port, allowPrivateAddresses: true }, names });
  const people = ["good@example.org", "bad@example.org", "slow@example.org", "last@example.org"];
  deepEqual(short(await us.send(people)), ["delivered", "failed 5.1.1", "deferred 4.2.0 rcpt", "delivered"]);
  deepEqual(peer.messages.map(({ rcpt }) => rcpt), [[
    "RCPT TO:<good@example.org>",
    "RCPT TO:<last@example.org>",
  ]]);
  equal(peer.lines.filter((line) => line.includes("bad@")).length, 1);
});

Deno.test("too many recipients for one transaction: the rest go in the next, on the same connection", async () => {
  let taken = 0;
  await using peer = await startPeer({
    reply(command) {
      if (command.startsWith("MAIL")) taken = 0;
      return command.startsWith("RCPT") && ++taken > 2 ? "452 4.5.3 too many recipients" : undefined;
    },
  });
  await using us = sender({ config: to(peer.port) });
  const people = Array.from({ length: 5 }, (_, n) => `u${n}@example.org`);
  deepEqual(short(await us.send(people)), people.map(() => "delivered"));
  deepEqual(peer.messages.map(({ rcpt }) => rcpt.length), [2, 2, 1]);
  equal(peer.connections, 1);
});

Deno.test("a full mailbox is not too many recipients", async () => {
  await using peer = await startPeer({
    reply: (command) => command.includes("full@") ? "452 4.2.2 mailbox full" : undefined,
  });
  await using us = sender({ config: to(peer.port) });
  deepEqual(short(await us.send(["b@example.org", "full@example.org"])), [
    "delivered",
    "deferred 4.2.2 rcpt",
  ]);
  equal(peer.lines.filter((line) => line.includes("MAIL")).length, 1);
});

Deno.test("more than a hundred recipients go in several transactions", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: to(peer.port) });
  const people = Array.from({ length: 250 }, (_, n) => `u${n}@example.org`);
  deepEqual(short(await us.send(people)), people.map(() => "delivered"));
  deepEqual(peer.messages.map(({ rcpt }) => rcpt.length), [100, 100, 50]);
});

Deno.test("O04 lost behind the final dot: deferred, logged, and not tried elsewhere", async () => {
  await using peer = await startPeer({ reply: (command) => command === "." ? "drop" : undefined });
  await using us = sender({ config: to(peer.port) });
  deepEqual(short(await us.send(["b@example.org", "c@example.org"])), [
    "deferred 4.4.2 possible-duplicate",
    "deferred 4.4.2 possible-duplicate",
  ]);
  equal(peer.connections, 1);
  deepEqual(us.log.map(({ level, event }) => `${level} ${event}`), ["warning possible duplicate"]);
});

Deno.test("O04 a lost QUIT: delivered", async () => {
  await using peer = await startPeer({ reply: (command) => command === "QUIT" ? "drop" : undefined });
  await using us = sender({ config: to(peer.port) });
  deepEqual(short(await us.send("b@example.org")), ["delivered"]);
  await us.clock.advance(6100);
  await peer.untilLine(/QUIT/);
});

Deno.test("O06 SIZE below ours: failed without sending", async () => {
  await using peer = await startPeer({ offers: ["SIZE 10"] });
  await using us = sender({ config: to(peer.port) });
  deepEqual(short(await us.send("b@example.org")), ["failed 5.3.4"]);
  ok(!peer.lines.some((line) => line.includes("MAIL")));
});

Deno.test("O06 a header beyond ASCII needs SMTPUTF8 where the message came under it, else it is sent as it is", async () => {
  await using peer = await startPeer({ offers: ["8BITMIME"] });
  await using us = sender({ config: to(peer.port) });
  const bytes = new TextEncoder().encode("Subject: ü\r\n\r\nx\r\n");
  const body = new TextEncoder().encode("Subject: u\r\n\r\nü\r\n");
  const how = (content: Uint8Array<ArrayBuffer>, utf8: boolean) => ({ content: () => content, utf8 });
  deepEqual(short(await us.send("b@example.org", how(bytes, true))), ["failed 5.6.7"]);
  deepEqual(short(await us.send("b@example.org", how(body, true))), ["delivered"]);
  deepEqual(short(await us.send("b@example.org", how(bytes, false))), ["delivered"]);
  match(peer.messages[0]!.mail, /BODY=8BITMIME$/);
});

Deno.test("O06 eightBit: bounce looks at the content", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: { ...to(peer.port), eightBit: "bounce" } });
  const pieces = (text: string) => ({
    async *[Symbol.asyncIterator]() {
      yield new TextEncoder().encode(text);
    },
  });
  const size = 20;
  deepEqual(short(await us.send("b@example.org", { content: () => pieces("\r\nplain\r\n"), size })), [
    "delivered",
  ]);
  deepEqual(short(await us.send("b@example.org", { content: () => pieces("\r\nü\r\n"), size })), [
    "failed 5.6.3",
  ]);
  deepEqual(short(await us.send("b@example.org", { eightBit: true })), ["failed 5.6.3"]);
});

Deno.test("O07 a kept connection that died meanwhile costs one silent retry", async () => {
  // By BDAT all was sent before the peer could say anything: no word from it is still no delivery.
  await using peer = await startPeer({ offers: ["PIPELINING", "CHUNKING"] });
  await using us = sender({ config: to(peer.port) });
  await us.send("b@example.org");
  await peer.hangUp();
  deepEqual(short(await us.send("c@example.org")), ["delivered"]);
  equal(peer.connections, 2);
  deepEqual(us.log, []);
});

Deno.test("O07 so does one whose peer says 421 to the next message", async () => {
  let mails = 0;
  await using peer = await startPeer({
    reply: (command) =>
      command.startsWith("MAIL") && ++mails === 2 ? "421 4.4.2 idle too long bye" : undefined,
  });
  await using us = sender({ config: to(peer.port) });
  await us.send("b@example.org");
  deepEqual(short(await us.send("c@example.org")), ["delivered"]);
  deepEqual(peer.messages.map(({ connection }) => connection), [0, 1]);
});

Deno.test("O07 a peer that hangs is left when its time is over", async () => {
  await using peer = await startPeer((n) =>
    n === 0
      ? { greeting: "" }
      // Without PIPELINING: who says RCPT has read the reply to MAIL.
      : { offers: [], reply: (c) => c.startsWith("RCPT") ? "hang" : undefined }
  );
  await using us = sender({ config: to(peer.port) });
  const first = us.send("b@example.org");
  await us.clock.untilPending(1);
  const second = us.send("b@example.org");
  await peer.untilLine(/RCPT/);
  await us.clock.advance(302_000);
  const results = [...await first, ...await second];
  deepEqual(short(results), ["deferred 4.4.2 greeting down", "deferred 4.4.2 lost"]);
  match(results[1]!.reply, /^The peer did not answer in time \(at RCPT\)$/);
});

Deno.test("an aborted attempt is deferred, and its connection closed", async () => {
  await using peer = await startPeer({ reply: (command) => command.startsWith("DATA") ? "hang" : undefined });
  await using us = sender({ config: to(peer.port) });
  const stop = new AbortController();
  const sending = us.send("b@example.org", { signal: stop.signal });
  await peer.untilLine(/DATA/);
  stop.abort(new Error("the server stops"));
  deepEqual(short(await sending), ["deferred 4.3.2 stopped"]);
  deepEqual(short(await us.send("b@example.org", { signal: AbortSignal.abort() })), [
    "deferred 4.3.2 stopped",
  ]);
  equal(peer.connections, 1);
});

Deno.test("close gives up what is under way", async () => {
  await using peer = await startPeer({ reply: (command) => command.startsWith("DATA") ? "hang" : undefined });
  await using us = sender({ config: to(peer.port) });
  const sending = us.send("b@example.org");
  await peer.untilLine(/DATA/);
  await us.delivery.close();
  deepEqual(short(await sending), ["deferred 4.3.2 stopped"]);
  deepEqual(short(await us.send("b@example.org")), ["deferred 4.3.2 stopped"]);
});

Deno.test("content in pieces: stuffed, whole, and read again for the next transaction", async () => {
  let read = 0;
  await using peer = await startPeer({ offers: ["PIPELINING", "CHUNKING"] });
  await using us = sender({ config: to(peer.port) });
  const block = `${"x".repeat(998)}\r\n`.repeat(64);
  const pieces = {
    async *[Symbol.asyncIterator]() {
      read++;
      for (let n = 0; n < 50; n++) yield new TextEncoder().encode(`.${n}\r\n${block}`);
    },
  };
  const size = 50 * (block.length + 4);
  const people = Array.from({ length: 101 }, (_, n) => `u${n}@example.org`);
  deepEqual(short(await us.send(people, { content: () => pieces, size })), people.map(() => "delivered"));
  equal(read, 2);
  equal(peer.messages.length, 2);
  const expected = Array.from({ length: 50 }, (_, n) => `..${n}\r\n${block}`).join("");
  ok(peer.messages.every((message) => message.content === expected));
});

Deno.test("content that can't be read to its end: no final dot, deferred", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: to(peer.port) });
  const pieces = {
    async *[Symbol.asyncIterator]() {
      yield new TextEncoder().encode("Subject: x\r\n\r\nhalf\r\n");
      await Promise.reject(new Error("EIO"));
    },
  };
  deepEqual(short(await us.send("b@example.org", { content: () => pieces })), ["deferred 4.3.0 local"]);
  deepEqual(peer.messages, []);
  const broken = () => {
    throw new Error("damaged");
  };
  deepEqual(short(await us.send("b@example.org", { content: broken })), ["deferred 4.3.0 local"]);
});

Deno.test("AUTH at a smart host; a refused login defers, and is not tried at its other addresses", async () => {
  await using peer = await startPeer({
    offers: ["PIPELINING", "AUTH PLAIN"],
    reply: (command) => command === "AUTH PLAIN AHUAd3Jvbmc=" ? "535 5.7.8 no" : undefined,
  });
  const route = (password: string) => ({
    route: {
      "*": {
        host: "smart.example",
        port: peer.port,
        tls: "none",
        auth: { user: "u", password },
        helo: "out.example",
      },
    },
  });
  const names = { "smart.example": { A: ["127.0.0.1", "127.0.0.3"] } };
  {
    await using us = sender({ config: route("right"), names });
    deepEqual(short(await us.send("b@example.org")), ["delivered"]);
    equal(peer.lines[0], "[0] EHLO out.example");
    equal(peer.lines[1], "[0] AUTH PLAIN AHUAcmlnaHQ=");
  }
  await using us = sender({ config: route("wrong"), names });
  deepEqual(short(await us.send("b@example.org")), ["deferred 4.7.8 auth down"]);
  equal(peer.connections, 2);
});

Deno.test("a password file is read at each login; one that can't be read defers", async () => {
  await using peer = await startPeer({ offers: ["AUTH LOGIN PLAIN"] });
  const file = await Deno.makeTempFile();
  const auth = { user: "u", passwordFile: file };
  await using us = sender({
    config: { route: { "*": { host: "127.0.0.1", port: peer.port, tls: "none", auth } } },
  });
  try {
    deepEqual(short(await us.send("b@example.org")), ["deferred 4.3.5 local"]);
    await Deno.writeTextFile(file, "p\n");
    deepEqual(short(await us.send("b@example.org")), ["delivered"]);
    equal(peer.lines[1], "[0] AUTH PLAIN AHUAcA==");
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("O08 a peer's words reach results escaped", async () => {
  await using peer = await startPeer({
    reply: (command) => command.startsWith("RCPT") ? `550 \x1b[2J${"x".repeat(3000)}` : undefined,
  });
  await using us = sender({ config: to(peer.port) });
  const [result] = await us.send("b@example.org");
  ok(result!.reply.startsWith("550 \\x1b[2Jxxx") && result!.reply.length <= 1024);
});

Deno.test("a source address is connected from", async () => {
  await using peer = await startPeer();
  const sources: (string | undefined)[] = [];
  const { dial } = await import("../../../server/delivery/smtp/dial.ts");
  await using us = sender({
    config: { route: { "*": { host: "127.0.0.1", port: peer.port, source: "127.0.0.9" } } },
    dial: async (how) => {
      const dialled = await dial(how);
      sources.push(dialled.channel.local.address);
      return dialled;
    },
  });
  deepEqual(short(await us.send("b@example.org")), ["delivered"]);
  deepEqual(sources, ["127.0.0.9"]);
});
