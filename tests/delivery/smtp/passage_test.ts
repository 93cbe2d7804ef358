/** Passing transactions on to real sockets: whose answers come back, which connection is used again, what a lost one means. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import type { Answer, Passage, PassageRequest } from "../../../server/delivery/passing.ts";
import type { Hop } from "../../../server/verdict.ts";
import { type Sender, sender } from "./kit.ts";
import { type Behaviour, startPeer } from "./peer.ts";

const hop = (port: number): Hop => ({ host: "127.0.0.1", port, tls: "none" });
const never = () => new AbortController().signal;
const content = "Subject: x\r\n\r\n.hello\r\n";
const bytes = new TextEncoder().encode(content);
const b = { address: "b@example.org" }, c = { address: "c@example.org" };

function request(hops: readonly Hop[], more: Partial<PassageRequest> = {}): PassageRequest {
  return {
    hops,
    mail: { sender: "a@example.com", size: undefined, utf8: false },
    first: b,
    client: {
      address: "192.0.2.7",
      port: 4711,
      helo: "client.example",
      protocol: "ESMTP",
      login: undefined,
      id: "1M",
    },
    xclient: false,
    xforward: false,
    signal: never(),
    ...more,
  };
}

/** `250 2.1.5 recipient`, `deferred 4.4.1 connect`, `impossible 5.6.7`. */
function short(answer: Answer): string {
  if (answer.kind === "said") return `${answer.reply.code} ${answer.reply.lines.join("|")}`;
  if (answer.kind === "impossible") return `impossible ${answer.status}`;
  return `deferred ${answer.deferral.status} ${answer.deferral.reason}`;
}

async function open(us: Sender, asked: PassageRequest): Promise<{ passage: Passage; said: string }> {
  const opened = await us.delivery.open(asked);
  if (opened.kind === "refused") throw new Error(short(opened.answer));
  return { passage: opened.passage, said: short(opened.answer) };
}

const refused = async (us: Sender, asked: PassageRequest) => {
  const opened = await us.delivery.open(asked);
  equal(opened.kind, "refused");
  return short(opened.answer);
};

const message = (more = {}) => ({
  sender: "a@example.com",
  size: bytes.length,
  content: () => bytes,
  recipients: [b],
  signal: never(),
  ...more,
});

Deno.test("a transaction goes step by step, the next one on the same connection", async () => {
  for (const offers of [[], ["PIPELINING"], ["PIPELINING", "CHUNKING"]]) {
    await using peer = await startPeer({
      offers,
      reply: (line) =>
        line.includes("c@") ? "550 5.1.1 who" : line === "." ? "250 2.0.0 queued as 7" : undefined,
    });
    await using us = sender({ config: {} });
    for (let n = 0; n < 2; n++) {
      const { passage, said } = await open(us, request([hop(peer.port)]));
      equal(said, "250 2.1.5 recipient");
      equal(short(await passage.rcpt(c, never())), "550 5.1.1 who");
      equal(peer.messages.length, n); // the peer has heard of no message yet
      ok(!peer.lines.slice(-2).some((line) => /DATA|BDAT/.test(line)));
      equal(short(await passage.send(message())), "250 2.0.0 queued as 7");
      passage.release(); // harmless
    }
    equal(peer.connections, 1);
    deepEqual(peer.messages.map(({ rcpt }) => rcpt), [["RCPT TO:<b@example.org>"], [
      "RCPT TO:<b@example.org>",
    ]]);
    equal(
      peer.messages[0]!.content,
      offers.includes("CHUNKING") ? content : content.replace("\r\n.", "\r\n.."),
    );
  }
});

Deno.test("a client that gives up is RSET there, and the connection serves the next", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: {} });
  await (await open(us, request([hop(peer.port)]))).passage.release();
  ok(peer.lines.at(-1)!.endsWith("RSET"));
  const { passage } = await open(us, request([hop(peer.port)]));
  await passage.send(message());
  equal(peer.connections, 1);
  await us.clock.advance(6100);
  await peer.untilLine(/QUIT/);
});

Deno.test("the peer's word on the sender is the word on the recipient, and no other host is asked", async () => {
  await using peer = await startPeer({
    reply: (line) => line.startsWith("MAIL") ? "450 4.1.8 wait" : undefined,
  });
  await using other = await startPeer();
  await using us = sender({ config: {} });
  equal(await refused(us, request([hop(peer.port), hop(other.port)])), "450 4.1.8 wait");
  equal(other.connections, 0);
});

Deno.test("several hops are tried in order: no connection, a greeting that refuses, one lost before its answer", async () => {
  const bad: Behaviour[] = [
    { greeting: "554 5.7.1 go away bye" },
    { reply: (line) => line.startsWith("MAIL") ? "421 4.3.2 bye" : undefined },
    { reply: (line) => line.startsWith("RCPT") ? "drop" : undefined },
  ];
  for (const behaviour of bad) {
    await using first = await startPeer(behaviour);
    await using second = await startPeer();
    await using us = sender({ config: {} });
    const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = closed.addr;
    closed.close();
    const { passage } = await open(us, request([hop(port), hop(first.port), hop(second.port)]));
    equal(short(await passage.send(message())), "250 2.0.0 kept");
    equal(second.messages.length, 1);
    equal(first.connections, 1);
  }
});

Deno.test("nobody answers: deferred, whatever it was", async () => {
  await using us = sender({ config: {}, names: { "gone.example": {} } });
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = closed.addr;
  closed.close();
  equal(await refused(us, request([hop(port)])), "deferred 4.4.1 connect");
  match(await refused(us, request([{ host: "gone.example" }])), /^deferred 4\./);
  const over = new AbortController();
  over.abort();
  equal(await refused(us, request([hop(port)], { signal: over.signal })), "deferred 4.4.2 stopped");
});

Deno.test("O07 a kept connection that was closed meanwhile costs nothing but itself", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: {} });
  await (await open(us, request([hop(peer.port)]))).passage.send(message());
  await peer.hangUp();
  const { passage } = await open(us, request([hop(peer.port)]));
  equal(short(await passage.send(message())), "250 2.0.0 kept");
  equal(peer.connections, 2);
});

Deno.test("a peer that goes while the client sends its message is begun with anew: nothing was sent yet", async () => {
  let gone = false;
  await using peer = await startPeer({
    reply: (line) => gone && line.includes("c@") ? "550 5.1.1 gone" : undefined,
  });
  await using us = sender({ config: {} });
  const { passage } = await open(us, request([hop(peer.port)]));
  await passage.rcpt(c, never());
  await peer.hangUp();
  equal(short(await passage.send(message({ recipients: [b, c] }))), "250 2.0.0 kept");
  deepEqual(peer.messages[0]!.rcpt, ["RCPT TO:<b@example.org>", "RCPT TO:<c@example.org>"]);
  // Whom it takes no more had a yes from it: nobody gets the message then.
  const again = (await open(us, request([hop(peer.port)]))).passage;
  await again.rcpt(c, never());
  gone = true;
  await peer.hangUp();
  equal(short(await again.send(message({ recipients: [b, c] }))), "deferred 4.4.2 rcpt");
  equal(peer.messages.length, 1);
});

Deno.test("O04 a connection lost behind the dot is no yes, and nothing is sent twice", async () => {
  for (const offers of [[], ["CHUNKING"]]) {
    await using peer = await startPeer({ offers, reply: (line) => line === "." ? "drop" : undefined });
    await using us = sender({ config: {} });
    const { passage } = await open(us, request([hop(peer.port)]));
    equal(short(await passage.send(message())), "deferred 4.4.2 possible-duplicate");
    equal(peer.connections, 1);
  }
});

Deno.test("fewer recipients, or another sender, are another transaction there", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: {} });
  const { passage } = await open(us, request([hop(peer.port)]));
  await passage.rcpt(c, never());
  equal(short(await passage.send(message({ recipients: [c] }))), "250 2.0.0 kept");
  const other = (await open(us, request([hop(peer.port)]))).passage;
  equal(short(await other.send(message({ sender: "srs@example.net" }))), "250 2.0.0 kept");
  equal(peer.connections, 1);
  deepEqual(peer.messages.map(({ mail, rcpt }) => [mail, ...rcpt]), [
    ["MAIL FROM:<a@example.com>", "RCPT TO:<c@example.org>"],
    ["MAIL FROM:<srs@example.net>", "RCPT TO:<b@example.org>"],
  ]);
});

Deno.test("a client that goes: before the dot nothing is delivered", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: {} });
  const { passage } = await open(us, request([hop(peer.port)]));
  const gone = new AbortController();
  async function* pieces() {
    yield bytes;
    gone.abort();
    yield bytes;
  }
  const answer = await passage.send(message({ content: pieces, signal: gone.signal }));
  match(short(answer), /^deferred 4\./);
  equal(peer.messages.length, 0);
});

Deno.test("a message that can't be read is no message", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: {} });
  const { passage } = await open(us, request([hop(peer.port)]));
  // deno-lint-ignore require-yield
  async function* pieces(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    throw new Error("EIO");
  }
  equal(short(await passage.send(message({ content: pieces }))), "deferred 4.3.0 local");
  equal(peer.messages.length, 0);
});

Deno.test("XCLIENT: each client has its own connection, and the peer hears who it is before MAIL", async () => {
  const offers = ["PIPELINING", "XCLIENT NAME ADDR PORT PROTO HELO LOGIN"];
  await using peer = await startPeer({
    offers,
    reply: (line) => line.startsWith("XCLIENT") ? "220 anew" : undefined,
  });
  await using us = sender({ config: {} });
  const one = request([hop(peer.port)], { xclient: true });
  const other = { ...one, client: { ...one.client, address: "192.0.2.8" } };
  for (const asked of [one, one, other]) await (await open(us, asked)).passage.send(message());
  deepEqual(peer.lines.filter((line) => /XCLIENT|EHLO/.test(line)), [
    "[0] EHLO us.example.net",
    "[0] XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=client.example LOGIN=[UNAVAILABLE]",
    "[0] EHLO client.example",
    "[1] EHLO us.example.net",
    "[1] XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.8 PORT=4711 PROTO=ESMTP HELO=client.example LOGIN=[UNAVAILABLE]",
    "[1] EHLO client.example",
  ]);
});

Deno.test("XFORWARD: in each transaction anew, and mail of the queue never goes on such a connection", async () => {
  await using peer = await startPeer({ offers: ["PIPELINING", "XFORWARD ADDR HELO IDENT"] });
  await using us = sender({
    config: { route: { "*": { host: "127.0.0.1", port: peer.port, tls: "none" } } },
  });
  const asked = request([hop(peer.port)], { xforward: true });
  for (const id of ["1M", "2M"]) {
    await (await open(us, { ...asked, client: { ...asked.client, id } })).passage.send(message());
  }
  await us.send("d@example.org");
  deepEqual(peer.lines.filter((line) => /XFORWARD|MAIL/.test(line)), [
    "[0] XFORWARD ADDR=192.0.2.7 HELO=client.example IDENT=1M",
    "[0] MAIL FROM:<a@example.com>",
    "[0] XFORWARD ADDR=192.0.2.7 HELO=client.example IDENT=2M",
    "[0] MAIL FROM:<a@example.com>",
    "[1] MAIL FROM:<a@example.com>",
  ]);
});

Deno.test("a peer that offers neither is told nothing, and the log says so once", async () => {
  await using peer = await startPeer();
  await using us = sender({ config: {} });
  for (let n = 0; n < 2; n++) {
    const asked = request([hop(peer.port)], { xclient: true, xforward: true });
    await (await open(us, { ...asked, client: { ...asked.client, port: n + 1 } })).passage.send(message());
  }
  equal(us.log.filter(({ level }) => level === "warning").length, 2); // one for each of both
  equal(peer.messages.length, 2);
});

Deno.test("O06 8-bit content to a peer without 8BITMIME, by `eightBit`", async () => {
  const eightBit = new TextEncoder().encode("Subject: x\r\n\r\nschön\r\n");
  for (const [policy, said] of [["send", "250 2.0.0 kept"], ["bounce", "impossible 5.6.3"]] as const) {
    await using peer = await startPeer();
    await using us = sender({ config: { eightBit: policy } });
    const { passage } = await open(us, request([hop(peer.port)]));
    equal(short(await passage.send(message({ content: () => eightBit }))), said);
    equal((await open(us, request([hop(peer.port)]))).said, "250 2.1.5 recipient"); // the connection is good
    equal(peer.connections, 1);
  }
});

Deno.test("closing gives up what is open, and leaves no connection", async () => {
  await using peer = await startPeer({ reply: (line) => line === "." ? "hang" : undefined });
  const us = sender({ config: {} });
  const { passage } = await open(us, request([hop(peer.port)]));
  const sending = passage.send(message());
  await peer.untilLine(/DATA/);
  await us[Symbol.asyncDispose]();
  match(short(await sending), /^deferred 4\./);
  equal(await refused(us, request([hop(peer.port)])), "deferred 4.4.2 stopped");
});
