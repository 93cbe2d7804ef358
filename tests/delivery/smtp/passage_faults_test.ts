/** Whatever a next hop does at any step: a yes that a client hears is the next hop's, of that message and these recipients. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import type { Answer, Passage, PassageRequest, PassedMessage } from "../../../server/delivery/passing.ts";
import type { ClientRecipient } from "../../../server/smtp/client.ts";
import { dial, type DialHow } from "../../../server/delivery/smtp/dial.ts";
import { type Sender, sender } from "./kit.ts";
import { startPeer } from "./peer.ts";

const words = [
  "250 fine",
  "251 will forward",
  "450 4.2.0 wait",
  "550 5.1.1 no",
  "421 4.3.2 bye",
  "drop",
  "354 what",
  "rubbish",
  "250 one\r\n250 two",
];
const isYes = (answer: Answer) => answer.kind === "said" && answer.reply.code < 300;
const path = (line: string) => /<(.*)>/.exec(line)![1]!;

/** One client's transaction: its recipients, and how it ends. */
const transaction = fc.record({
  recipients: fc.integer({ min: 1, max: 4 }),
  ends: fc.constantFrom("message", "fewer", "other sender", "in pieces", "rset", "gone"),
});
const world = fc.record({
  offers: fc.subarray(["PIPELINING", "CHUNKING", "SIZE 1000", "XFORWARD ADDR"]),
  transactions: fc.array(transaction, { minLength: 1, maxLength: 4 }),
  together: fc.boolean(),
  /** What stands instead of the usual reply, by the number of the command. */
  faults: fc.array(fc.tuple(fc.integer({ min: 0, max: 25 }), fc.constantFrom(...words)), { maxLength: 5 }),
});

Deno.test("a yes is the next hop's, of that message and these recipients: whatever goes wrong there", async () => {
  await fc.assert(
    fc.asyncProperty(world, async ({ offers, transactions, together, faults }) => {
      let commands = 0;
      const replies = new Map(faults);
      await using peer = await startPeer({
        offers,
        reply: (line) => /^(EHLO|QUIT)/.test(line) ? undefined : replies.get(commands++),
      });
      await using us = sender({ config: {} });
      const hops = [{ host: "127.0.0.1", port: peer.port, tls: "none" as const }];
      const kept: string[] = [];
      const one = async ({ recipients, ends }: typeof transactions[number], n: number) => {
        const gone = new AbortController();
        const all = Array.from(
          { length: recipients },
          (_, i): ClientRecipient => ({ address: `r${i}@t${n}.test` }),
        );
        let from = `s${n}@example.com`;
        const opened = await us.delivery.open({
          hops,
          mail: { sender: from, size: undefined, utf8: false },
          first: all[0]!,
          client: {
            address: "192.0.2.7",
            port: 1,
            helo: "c",
            protocol: "ESMTP",
            login: undefined,
            id: `${n}`,
          },
          xclient: false,
          xforward: true,
          signal: gone.signal,
        });
        if (opened.kind === "refused") return ok(!isYes(opened.answer));
        const passage: Passage = opened.passage;
        let accepted = isYes(opened.answer) ? [all[0]!] : [];
        for (const recipient of all.slice(1)) {
          if (isYes(await passage.rcpt(recipient, gone.signal))) accepted.push(recipient);
        }
        if (ends === "rset" || accepted.length === 0) return await passage.release();
        if (ends === "fewer") accepted = accepted.slice(-1);
        if (ends === "other sender") from = `o${n}@example.net`;
        const text = `Subject: ${n}\r\n\r\n${n}\r\n`;
        const bytes = new TextEncoder().encode(text);
        async function* pieces() {
          yield bytes.slice(0, 10);
          if (ends === "gone") gone.abort();
          yield bytes.slice(10);
        }
        const answer = await passage.send({
          sender: from,
          size: bytes.length,
          content: () => ends === "in pieces" || ends === "gone" ? pieces() : bytes,
          recipients: accepted,
          signal: gone.signal,
        });
        await passage.released;
        if (isYes(answer)) kept.push(JSON.stringify([from, accepted.map(({ address }) => address), text]));
        if (ends === "gone") ok(!isYes(answer));
      };
      if (together) await Promise.all(transactions.map(one));
      else for (const [n, each] of transactions.entries()) await one(each, n);
      const there = peer.messages.map(({ mail, rcpt, content }) =>
        JSON.stringify([path(mail), rcpt.map(path), content])
      );
      for (const message of kept) {
        ok(there.includes(message), `${message} is not there: ${peer.lines.join("\n")}`);
      }
      // What it has and nobody heard of is what it had a word lost about, never somebody's twice.
      for (const message of there) {
        const [, rcpt, content] = JSON.parse(message) as [string, string[], string];
        for (const to of rcpt) deepEqual(to.slice(2), `@t${content.slice(9, 10)}.test`);
      }
    }),
    {
      numRuns: 400,
      // A peer that answers twice, and goes: its yes to the recipient was once heard, with nobody there for the message.
      examples: [[{
        offers: ["PIPELINING", "XFORWARD ADDR"],
        transactions: [{ recipients: 1, ends: "message" }],
        together: false,
        faults: [[2, "drop"], [0, "250 one\r\n250 two"]],
      }]],
    },
  );
});

const asked = (port: number, more: Partial<PassageRequest> = {}): PassageRequest => ({
  hops: [{ host: "127.0.0.1", port, tls: "none" }],
  mail: { sender: "a@example.com", size: undefined, utf8: false },
  first: { address: "b@example.org" },
  client: { address: "192.0.2.7", port: 1, helo: "c", protocol: "ESMTP", login: undefined, id: "1" },
  xclient: false,
  xforward: false,
  signal: new AbortController().signal,
  ...more,
});

async function open(us: Sender, request: PassageRequest): Promise<Passage> {
  const opened = await us.delivery.open(request);
  if (opened.kind === "refused") throw new Error(JSON.stringify(opened.answer));
  return opened.passage;
}

const bytes = new TextEncoder().encode("Subject: x\r\n\r\nx\r\n");
const message = (request: PassageRequest, more: Partial<PassedMessage> = {}): PassedMessage => ({
  sender: "a@example.com",
  size: bytes.length,
  content: () => bytes,
  recipients: [request.first],
  signal: new AbortController().signal,
  ...more,
});

Deno.test("a client that has gone leaves its connection once: nobody else's time-outs are lost by it", async () => {
  let hangs = false;
  await using peer = await startPeer({
    reply: (line) => hangs && line.startsWith("MAIL") ? "hang" : undefined,
  });
  await using us = sender({ config: {} });
  const request = asked(peer.port);
  const passage = await open(us, request);
  const gone = new AbortController();
  gone.abort();
  // Another sender: the connection is given back, and would have been taken again.
  const answer = await passage.send(message(request, { sender: "srs@example.net", signal: gone.signal }));
  equal(answer.kind, "deferred");
  hangs = true;
  const first = us.delivery.open(request);
  await peer.untilLine(/MAIL/, 2);
  hangs = false;
  await (await open(us, request)).release();
  await us.clock.advance(305_000);
  const late = await first; // it lost that connection, and found another
  equal(late.kind, "open");
  if (late.kind === "open") await late.passage.release();
});

Deno.test("a peer that goes while its message is looked through is begun with anew", async () => {
  await using peer = await startPeer();
  const closed = Promise.withResolvers<void>();
  const onClosed = (how: DialHow) => () => (how.onClosed(), closed.resolve());
  await using us = sender({
    config: { eightBit: "bounce" },
    dial: (how) => dial({ ...how, onClosed: onClosed(how) }),
  });
  const request = asked(peer.port);
  const passage = await open(us, request);
  let isFirst = true;
  async function* pieces() {
    if (isFirst) {
      isFirst = false;
      await peer.hangUp();
      await closed.promise;
    }
    yield bytes;
  }
  const answer = await passage.send(message(request, { content: pieces }));
  deepEqual([answer.kind, peer.messages.length, us.log.filter(({ level }) => level === "error")], [
    "said",
    1,
    [],
  ]);
});

Deno.test("nobody is asked for a client that had gone before", async () => {
  let hangs = false;
  await using peer = await startPeer({
    reply: (line) => hangs && line.startsWith("RCPT") ? "hang" : undefined,
  });
  await using us = sender({ config: {} });
  const request = asked(peer.port);
  const passage = await open(us, request);
  hangs = true;
  const naming = passage.rcpt({ address: "c@example.org" }, AbortSignal.abort());
  await us.clock.advance(1000);
  const first = await Promise.race([naming, peer.untilLine(/RCPT/, 2)]);
  equal(first?.kind, "deferred");
  await passage.release();
});
