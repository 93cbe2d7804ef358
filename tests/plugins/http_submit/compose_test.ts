import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import PostalMime from "postal-mime";
import { compose } from "../../../plugins/http_submit/compose.ts";

const json = (value: unknown) => compose(new TextEncoder().encode(JSON.stringify(value)));
const least = { from: "shop@example.org", to: "bob@example.net", text: "Hello." };

async function problems(value: unknown): Promise<string[]> {
  const made = await json(value);
  return made.kind === "invalid" ? made.problems.map(({ path, message }) => `${path}: ${message}`) : [];
}

Deno.test("http-submit: JSON becomes a message with its parts, blind copies in the envelope only", async () => {
  const made = await json({
    ...{ from: { name: "Café", address: "shop@example.org" }, to: ["bob@example.net"] },
    ...{ cc: [{ name: "Eve", address: "eve@example.net" }], bcc: "carl@example.net", subject: "Grüße" },
    ...{ text: "Hällo.", html: "<p>Hällo.</p>", headers: { "List-Unsubscribe": "<https://example.org/u>" } },
    attachments: [{ filename: "ä.pdf", contentType: "application/pdf", content: "AAECAw==" }],
    envelopeFrom: "bounces@example.org",
  });
  ok(made.kind === "composed");
  deepEqual(made.recipients, ["bob@example.net", "eve@example.net", "carl@example.net"]);
  deepEqual([made.sender, made.author], ["bounces@example.org", "shop@example.org"]);
  const text = new TextDecoder().decode(made.content);
  ok(!text.includes("carl@"));
  equal(/(?<!\r)\n/.test(text), false);
  const read = await PostalMime.parse(made.content);
  equal(read.subject, "Grüße");
  equal(read.from?.name, "Café");
  equal(read.text?.trim(), "Hällo.");
  equal(read.html?.trim(), "<p>Hällo.</p>");
  equal(read.attachments[0]!.filename, "ä.pdf");
  deepEqual([...new Uint8Array(read.attachments[0]!.content as ArrayBuffer)], [0, 1, 2, 3]);
  equal(read.headers.find(({ key }) => key === "list-unsubscribe")?.value, "<https://example.org/u>");
});

Deno.test("http-submit: what would become a header of somebody else's is refused, with where it stands", async () => {
  deepEqual(await problems(least), []);
  match((await problems({ ...least, subject: "a\r\nBcc: x@y.z" }))[0]!, /^subject: is one line/);
  match((await problems({ ...least, from: { name: "a\nB: c", address: "a@b.c" } }))[0]!, /^from/);
  match((await problems({ ...least, to: ["a@b.c\r\nBcc: x@y.z"] }))[0]!, /^to/);
  match((await problems({ ...least, headers: { "X-A": "b\nc" } }))[0]!, /^headers\.X-A: is one line/);
  match(
    (await problems({ ...least, headers: { "X-A: b\r\nC": "d" } }))[0]!,
    /not the name of a header field/,
  );
  for (const name of ["From", "bcc", "Received", "Content-Type", "DKIM-Signature"]) {
    match((await problems({ ...least, headers: { [name]: "x" } }))[0]!, /can't be set here/, name);
  }
  const attachment = { content: "AA==", filename: 'a"\r\nX: y' };
  match(
    (await problems({ ...least, attachments: [attachment] }))[0]!,
    /^attachments\.0\.filename: is one line/,
  );
});

Deno.test("http-submit: nothing that is sent in names a file or a URL", async () => {
  for (const key of ["path", "href", "raw"]) {
    const [problem] = await problems({ ...least, attachments: [{ content: "AA==", [key]: "/etc/passwd" }] });
    match(problem!, /attachments\.0/);
  }
  match((await problems({ ...least, text: { path: "/etc/passwd" } }))[0]!, /^text/);
  match((await problems({ ...least, headers: { "X-A": { prepared: true } } }))[0]!, /^headers/);
});

Deno.test("http-submit: what is missing or no JSON is told", async () => {
  match((await problems({ ...least, to: [] }))[0]!, /there is no recipient/);
  match((await problems({ from: "a@b.c", to: "b@c.d" }))[0]!, /neither `text` nor/);
  match(
    (await problems({ ...least, attachments: [{ content: "?" }] }))[0]!,
    /attachments\.0\.content: is not base64/,
  );
  match((await problems({ ...least, colour: 1 }))[0]!, /colour/);
  const broken = await compose(new TextEncoder().encode("{"));
  ok(broken.kind === "invalid" && /not JSON/.test(broken.problems[0]!.message));
  equal((await compose(Uint8Array.of(0xff, 0xfe))).kind, "invalid");
});

Deno.test("http-submit: whatever stands in the values, no line of the header is one that wasn't asked for", async () => {
  const text = fc.string({ unit: "binary", maxLength: 60 });
  await fc.assert(fc.asyncProperty(text, text, text, async (subject, name, value) => {
    const made = await json({
      ...least,
      from: { name, address: "shop@example.org" },
      subject,
      headers: { "X-A": value },
    });
    if (made.kind === "invalid") return;
    const [header = ""] = new TextDecoder().decode(made.content).split("\r\n\r\n", 1);
    const names = header.split(/\r\n(?![ \t])/).map((line) => line.split(":", 1)[0]!.toLowerCase());
    const known = "from to subject x-a message-id date mime-version content-type content-transfer-encoding"
      .split(" ");
    deepEqual(names.filter((one) => !known.includes(one)), []);
    equal(new Set(names).size, names.length);
  }));
});
