import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { makePayload } from "../../../plugins/webhook/payload.ts";
import { FakeClock } from "../../../server/testing/clock.ts";
import { TakingApart } from "../../../plugins/webhook/taking_apart.ts";

const never = new AbortController().signal;
const utf8 = new TextEncoder();
const read = (body: Uint8Array) => JSON.parse(new TextDecoder().decode(body));

const mixed = [
  "From: Alice <alice@example.net>",
  "To: Team: bob@example.org, Eve <eve@example.org>;",
  "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=",
  "Message-ID: <1@example.net>",
  "Content-Type: multipart/mixed; boundary=x",
  "",
  "--x",
  "Content-Type: text/plain; charset=iso-8859-1",
  "Content-Transfer-Encoding: quoted-printable",
  "",
  "Gr=FC=DFe",
  "--x",
  "Content-Type: application/pdf; name=a.pdf",
  "Content-Disposition: attachment; filename=a.pdf",
  "Content-Transfer-Encoding: base64",
  "",
  "AAECAw==",
  "--x",
  "Content-Type: message/rfc822",
  "",
  "Subject: inside",
  "",
  "hidden",
  "--x--",
  "",
].join("\r\n");

Deno.test("webhook payload: the parts of a message, attachments in base64", async () => {
  const made = read(await makePayload({ content: utf8.encode(mixed), top: { id: "m1" }, inline: 1000 }));
  equal(made.id, "m1");
  equal(made.parsed, "whole");
  equal(made.subject, "Grüße");
  equal(made.messageId, "<1@example.net>");
  deepEqual(made.from, [{ name: "Alice", address: "alice@example.net" }]);
  deepEqual(made.to.map(({ address }: { address: string }) => address), [
    "bob@example.org",
    "eve@example.org",
  ]);
  match(made.text, /^Grüße/);
  const [pdf, message] = made.attachments;
  deepEqual(pdf, {
    ...{ filename: "a.pdf", contentType: "application/pdf", disposition: "attachment", contentId: null },
    ...{ size: 4, content: "AAECAw==" },
  });
  equal(message.contentType, "message/rfc822");
});

Deno.test("webhook payload: attachments beyond the bound are told without their content", async () => {
  const made = read(await makePayload({ content: utf8.encode(mixed), top: {}, inline: 3 }));
  deepEqual([made.attachments[0].size, made.attachments[0].content], [4, null]);
});

Deno.test("webhook payload: whatever octets come, JSON comes out", async () => {
  await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (octets) => {
    const made = read(await makePayload({ content: new Uint8Array(octets), top: { id: "x" }, inline: 1000 }));
    equal(made.id, "x");
    ok(typeof made.parsed === "string");
  }));
});

Deno.test("webhook payload: nesting that is too deep is told, not followed", async () => {
  const deep = Array.from(
    { length: 400 },
    (_, i) => `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}\r\n`,
  ).join("");
  match(
    read(await makePayload({ content: utf8.encode(deep), top: {}, inline: 1 })).parsed,
    /^not readable: /,
  );
});

Deno.test("webhook payload: large messages are taken apart by the Worker, to the same", async () => {
  const large = mixed.replace("Gr=FC=DFe", `Gr=FC=DFe\r\n${"line\r\n".repeat(20_000)}`);
  const takingApart = new TakingApart(new FakeClock());
  try {
    const source = () => ({ content: utf8.encode(large), top: { id: "m" }, inline: 1000 });
    deepEqual(await takingApart.make(source(), never), await makePayload(source()));
  } finally {
    takingApart.close();
  }
});

Deno.test("webhook payload: what takes hours to be taken apart is told by its header, and nobody waits for it", async () => {
  const part = (type: string, text: string) => `--a\r\nContent-Type: ${type}\r\n\r\n${text}\r\n`;
  const hostile = "Content-Type: multipart/mixed; boundary=a\r\n\r\n" +
    part("text/plain", "text") + part("text/html", "<a href=".repeat(250_000)) + "--a--\r\n";
  const clock = new FakeClock();
  const takingApart = new TakingApart(clock);
  try {
    const make = (text: string) =>
      takingApart.make({ content: utf8.encode(text), top: { id: "m" }, inline: 0 }, never);
    const [slow, next] = [make(hostile), make(`Subject: x\r\n\r\n${"line\r\n".repeat(20_000)}`)];
    await clock.advance("1ms");
    await clock.advance("10s");
    deepEqual(read(await slow), { id: "m", parsed: "not readable: taking it apart takes too long" });
    equal(read(await next).parsed, "whole");
  } finally {
    takingApart.close();
  }
});
