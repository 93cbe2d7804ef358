/** The client's machine: dialogs with peers of many kinds, and properties for all that they could say. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { SmtpClient } from "../../server/smtp/client.ts";
import { wireAddress } from "../../server/smtp/client_command.ts";
import { all, dialogs, lmtp, plain } from "./client_dialogs.ts";
import { byteByByte, converse, mail, message, model, short, whole } from "./client_kit.ts";

const encode = (text: string) => new TextEncoder().encode(text);

for (const { name, options = plain, peer, transaction, writes, results, end } of dialogs) {
  for (const [how, cut] of [["whole", whole], ["byte by byte", byteByByte]] as const) {
    Deno.test(`client: ${name} (${how})`, () => {
      const client = new SmtpClient(options);
      const said = converse(client, model(peer), transaction === undefined ? [] : [transaction], cut);
      deepEqual(said.writes, writes);
      if (results !== undefined) deepEqual(short(said.results[0]!), results);
      equal(said.end, end);
    });
  }
}

Deno.test("client: several messages on one connection, with a refused one between", () => {
  const client = new SmtpClient(plain);
  const peer = model({ offers: all, replies: { RCPT: ["250 ok", "550 no", "250 ok"] } });
  const said = converse(client, peer, [mail(), mail(), mail()], whole);
  deepEqual(said.results.map(short), [["delivered"], ["rcpt 550"], ["delivered"]]);
  equal(said.end, "ready");
  client.quit();
  const last = client.next();
  equal(last.kind === "write" && new TextDecoder().decode(last.bytes), "QUIT\r\n");
  deepEqual(client.next(), { kind: "over", failure: undefined });
});

Deno.test("client: LMTP goes on with the next message once all recipients are answered", () => {
  const client = new SmtpClient(lmtp);
  const peer = model({ offers: all, replies: { content: ["250 ok", "550 no", "250 ok"] } });
  const to = ["b@x.org", "c@x.org"];
  const said = converse(client, peer, [mail({ to }), mail({ to })], byteByByte);
  deepEqual(said.results.map(short), [["delivered", "final 550"], ["delivered", "delivered"]]);
  equal(said.end, "ready");
});

Deno.test("client: what a peer says unasked ends the session", () => {
  const client = new SmtpClient(plain);
  equal(converse(client, model({ offers: [] }), [], whole).end, "ready");
  client.receive(encode("4"));
  deepEqual(client.next(), { kind: "over", failure: { kind: "out-of-order", phase: "mail" } });
  const eager = new SmtpClient(plain);
  eager.receive(encode("220 hi\r\n250 and hello\r\n"));
  equal(eager.next().kind, "over");
});

Deno.test("client: content in pieces is stuffed over their borders", () => {
  const client = new SmtpClient(plain);
  const transaction = { ...mail(), content: undefined, size: 12 };
  const said = converse(client, model({ offers: all }), [transaction], whole, [
    "a\r",
    "\n.",
    "b\r\n",
    ".",
    "\r\nc",
  ]);
  deepEqual(said.writes.slice(2), ["a\r", "\n..", "b\r\n", "..", "\r\nc", "\r\n.\r\n"]);
  deepEqual(short(said.results[0]!), ["delivered"]);
});

Deno.test("client: a message that is given up has no final dot", () => {
  const client = new SmtpClient(plain);
  const peer = model({ offers: ["PIPELINING"] });
  const said = converse(client, peer, [{ ...mail(), content: undefined, size: 12 }], whole, [
    "abc",
    "give up",
  ]);
  equal(said.writes.at(-1), "abc");
  deepEqual(short(said.results[0]!), ["lost"]);
  equal(said.end, "abandoned at content");
});

Deno.test("O08 nothing of ours with CR, LF or a bracket reaches the wire", () => {
  for (const name of ["a b", "a\r\nRSET", "", "ü"]) {
    throws(() => new SmtpClient({ ...plain, name }), TypeError);
  }
  const bad = [
    "b@x.org>\r\nRSET",
    "b@x.org> NOTIFY=NEVER",
    "b\n@x.org",
    "<b@x.org>",
    "b c@x.org",
    "b@x.org\0",
  ];
  for (const address of bad) {
    equal(wireAddress(address).kind, "unsendable", address);
    const client = new SmtpClient(plain);
    const said = converse(client, model({ offers: all }), [mail({ to: [address, "c@x.org"] })], whole);
    deepEqual(short(said.results[0]!), ["5.1.3", "delivered"]);
    const other = new SmtpClient(plain);
    deepEqual(
      short(converse(other, model({ offers: all }), [mail({ sender: address })], whole).results[0]!),
      ["5.1.7"],
    );
  }
  equal(wireAddress('"b> c"@x.org').kind, "sendable");
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (address, envid) => {
    const client = new SmtpClient(plain);
    const recipients = [{ address, original: address, orcpt: { type: address, address: envid } }];
    const said = converse(client, model({ offers: all }), [
      mail({ recipients, sender: "", envid, ret: "FULL" }),
    ], whole);
    const envelope = said.writes[1];
    if (envelope === undefined) return;
    const lines = envelope.slice(0, -message.length).split("\r\n");
    equal(lines.length, 4);
    ok(lines.every((line) => /^\P{Cc}*$/u.test(line)), JSON.stringify(envelope));
  }));
});

// ── Properties

const offersArb = fc.subarray([
  "PIPELINING",
  "SIZE 30",
  "8BITMIME",
  "SMTPUTF8",
  "DSN",
  "CHUNKING",
  "STARTTLS",
]);
const toArb = fc.array(fc.constantFrom("b@x.org", "jürgen@x.org", "bad address", "c@x.org"), {
  minLength: 1,
  maxLength: 4,
});
const transactionArb = fc.tuple(toArb, fc.boolean(), fc.boolean()).map(([to, streamed, crlf]) => {
  const content = encode(crlf ? "x\r\n" : "x");
  return streamed ? { ...mail({ to }), content: undefined, size: 1 } : mail({ to, content });
});

Deno.test("client: whatever a peer says, it comes to an end, and each recipient has exactly one result", () => {
  const said = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.constantFrom("220 a", "250 ok", "250-x\r\n250 y", "354 go", "450 no", "550 no", "334 "),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom("421 bye", "garbage", "", "250", "451-a\r\n250 b", "[lost]", "[timeout]"),
    },
    { weight: 1, arbitrary: fc.string() },
  );
  const answers = fc.array(fc.array(said, { maxLength: 5 }), { maxLength: 25 });
  fc.assert(
    fc.property(
      answers,
      offersArb,
      fc.array(transactionArb, { maxLength: 3 }),
      fc.boolean(),
      fc.constantFrom(plain, lmtp),
      (texts, offers, mails, bytes, options) => {
        let turn = 0;
        const peer = {
          greeting: () => said1(texts[turn++] ?? []),
          // A good start now and then, else few would get to a transaction.
          answer: (written: string) =>
            /^[EL]HLO/.test(written) && turn % 3 !== 0
              ? ["x", ...offers].map((line, at, all) => `250${at === all.length - 1 ? " " : "-"}${line}\r\n`)
                .join("")
              : said1(texts[turn++] ?? []),
          encrypted: () => {},
        };
        const client = new SmtpClient(options);
        const run = converse(client, peer, mails, bytes ? byteByByte : whole, ["x", "\r\n."]);
        ok(run.steps < 5000);
        for (const results of run.results) ok(results.every((result) => result !== undefined));
      },
    ),
    { numRuns: 2000 },
  );
  function said1(texts: string[]): string {
    return texts.map((text) => text.startsWith("[") ? text : `${text}\r\n`).join("");
  }
});

const mailsArb = fc.array(transactionArb, { minLength: 1, maxLength: 3 });

Deno.test("client: the same replies in other pieces lead to the same words and the same results", () => {
  const code = (good: string) =>
    fc.array(
      fc.oneof(
        { weight: 4, arbitrary: fc.constant(good) },
        fc.constantFrom("450 a", "550-a\r\n550 b", "421 x", "452\n", "nonsense"),
      ),
      { maxLength: 6 },
    );
  const peerArb = fc.record({
    offers: offersArb,
    replies: fc.record({
      MAIL: code("250 ok"),
      RCPT: code("250 ok"),
      DATA: code("354 go"),
      content: code("250 kept"),
      RSET: code("250 ok"),
    }),
  });
  fc.assert(
    fc.property(peerArb, mailsArb, fc.constantFrom(plain, lmtp), (peer, mails, options) => {
      const run = (cut: typeof whole) => {
        const client = new SmtpClient(options);
        const { writes, results, end } = converse(client, model(peer), mails, cut, ["x\r\n."]);
        return { writes, results: results.map(short), end };
      };
      deepEqual(run(byteByByte), run(whole));
    }),
    { numRuns: 1000 },
  );
});
