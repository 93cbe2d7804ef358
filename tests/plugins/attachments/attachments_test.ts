import {
  deepStrictEqual as deepEqual,
  doesNotMatch,
  match,
  ok,
  rejects,
  strictEqual as equal,
} from "node:assert/strict";
import fc from "fast-check";
import attachments from "../../../plugins/attachments/mod.ts";
import { Inspector } from "../../../plugins/attachments/inspector.ts";
import { mailboxes, testServer } from "../../../server/testing/mod.ts";
import { message as messageOf } from "../harness.ts";
import { mail, packed, program } from "./made.ts";

const to = "alice@example.org";
const start = (options: Record<string, unknown> = {}) =>
  testServer({ plugins: [["attachments", options], mailboxes(["example.org"])] });

Deno.test("attachments: without options: programs are refused, by name, by content and in archives; else mail goes on as it is", async () => {
  await using server = await start();
  const refused = async (...attached: Parameters<typeof mail>) => {
    const { reply, outcome } = await server.send({ to, content: await mail(...attached) });
    return outcome === "accepted" ? "accepted" : `${reply.code} ${reply.status} ${reply.text}`;
  };
  equal(await refused({ filename: "notes.pdf", content: "%PDF-1.7" }), "accepted");
  doesNotMatch(server.delivered[0]!.content, /X-Attachment-Problem/);
  equal(
    await refused({ filename: "setup.exe", content: "x" }),
    '550 5.7.1 "setup.exe" is of a kind that isn\'t taken: exe',
  );
  equal(
    await refused({ filename: "photo.jpg", content: program }),
    '550 5.7.1 "photo.jpg" is of a kind that isn\'t taken: exe',
  );
  const zip = await packed({ "a.txt": "x", "run.js": "x" }, "-tzip");
  equal(
    await refused({ filename: "docs.zip", content: zip }),
    '550 5.7.1 "run.js" in "docs.zip" is of a kind that isn\'t taken: js',
  );
  match(await refused({ filename: "bill.pdf.html", content: "x" }), /^550 5\.7\.1 .*disguised/);
  match(await refused({ filename: "cut.zip", content: zip.subarray(0, 40) }), /^550 5\.7\.1 .*damaged/);
  equal(
    await refused({ filename: "locked.zip", content: await packed({ "a.txt": "x" }, "-tzip", "-ps") }),
    "accepted",
  );
  equal(
    await refused({ filename: false, content: "x", contentType: "message/partial; id=1; number=1" }).then((
      text,
    ) => text.slice(0, 9)),
    "550 5.7.1",
  );
});

Deno.test("attachments: what is flagged is marked and delivered, what is off isn't looked for, and nobody else marks", async () => {
  await using server = await start({
    refused: "flag",
    disguised: "off",
    encrypted: "flag",
    unreadable: "flag",
    most: 1,
  });
  const content = await mail({ filename: "bill.pdf.exe", content: "x" });
  const forged = { "X-Attachment-Problem": "forged" };
  equal((await server.send({ to, content, headers: forged })).outcome, "accepted");
  deepEqual(server.delivered[0]!.headers.all("X-Attachment-Problem"), [
    '"bill.pdf.exe" is of a kind that isn\'t taken: exe',
  ]);
  equal(server.log.of("flagged").length, 1);
  const locked = await packed({ "a.txt": "x" }, "-psecret", "-mhe=on");
  await server.send({ to, content: await mail({ filename: "locked.7z", content: locked }) });
  match(server.delivered[1]!.headers.get("X-Attachment-Problem") ?? "", /locked\.7z.*encrypted/);
  const two = await mail({ filename: "a.txt", content: "x" }, { filename: "b.txt", content: "y" });
  equal((await server.send({ to, content: two })).reply.text, "It has 2 attachments, and 1 are taken");
});

for (const [tooLarge, code] of [["pass", 250], ["defer", 451], ["reject", 552]] as const) {
  Deno.test(`attachments: what is larger than \`max\`, with tooLarge: ${tooLarge}`, async () => {
    await using server = await start({ max: "1KiB", tooLarge });
    const content = await mail({ filename: "a.exe", content: "x".repeat(2000) });
    equal((await server.send({ to, content })).reply.code, code);
  });
}

Deno.test("attachments: mail of our own isn't looked into again", async () => {
  await using server = await start();
  await server.submit({
    sender: "",
    recipients: [to],
    content: await mail({ filename: "a.exe", content: "x" }),
  });
  equal(server.delivered.length, 1);
});

Deno.test("attachments: no archive and no message, however broken, makes it fail", async () => {
  await using server = await start();
  const whole = [
    await packed({ "a.zip": "PK", "b.txt": "hello" }, "-tzip"),
    await packed({ "a.txt": "hello" }),
  ];
  const broken = fc.record({
    archive: fc.constantFrom(...whole),
    cut: fc.nat(300),
    at: fc.nat(300),
    octets: fc.uint8Array({ maxLength: 20 }),
  });
  await fc.assert(
    fc.asyncProperty(broken, async ({ archive, cut, at, octets }) => {
      const content = archive.slice(0, Math.max(1, archive.length - cut));
      content.set(octets.subarray(0, Math.max(0, content.length - at)), Math.min(at, content.length));
      const { reply } = await server.send({ to, content: await mail({ filename: "x.zip", content }) });
      ok(reply.code === 250 || reply.code === 550, reply.text);
    }),
    { numRuns: 40 },
  );
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: "binary-ascii", maxLength: 300 }), async (text) => {
      const headers = { "Content-Type": `multipart/mixed; boundary=b; x="${text.replace(/[\r\n]/g, "")}` };
      const { reply } = await server.send({ to, headers, text: `--b\r\n${text}\r\n\r\n${text}\r\n--b--` });
      ok(reply.code === 250 || reply.code === 550, reply.text);
    }),
    { numRuns: 40 },
  );
  equal(server.log.of("plugin failed").length, 0);
});

Deno.test("attachments: a look that takes too long is ended, who waits behind it isn't", async () => {
  const inspector = new Inspector({
    depth: 3,
    entries: 1000,
    unpackings: 1000,
    unpacked: 1024 * 1024 * 1024,
  });
  const bomb = await mail({
    filename: "bomb.gz",
    content: await packed({ big: new Uint8Array(100_000_000) }, "-tgzip"),
  });
  const small = await mail({ filename: "a.exe", content: "x" });
  try {
    const [ended, waiting] = [new AbortController(), new AbortController()];
    const long = inspector.inspect(messageOf(bomb), ended.signal);
    const gone = inspector.inspect(messageOf(small), waiting.signal);
    const next = inspector.inspect(messageOf(small), new AbortController().signal);
    waiting.abort(new Error("the client has gone"));
    await rejects(gone, /the client has gone/);
    ended.abort(new Error("time is over"));
    await rejects(long, /time is over/);
    equal((await next).found.at(-1)!.names[0], "a.exe");
  } finally {
    inspector.close();
  }
});

Deno.test("attachments: options that are none are refused", () => {
  const issues = (options: unknown) =>
    attachments.options!.safeParse(options).error?.issues.map(({ path }) => path.join(".")) ?? [];
  deepEqual(issues({ extensions: [".EXE", "tar.gz"] }), ["extensions.1"]);
  deepEqual(issues({ types: ["video/*", "video"] }), ["types.1"]);
  deepEqual(issues({ refused: "defer" }), ["refused"]);
  deepEqual(issues({ depth: 11 }), ["depth"]);
});
