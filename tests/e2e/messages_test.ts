/** Real messages, well-formed or not, arrive as they were sent: in the Maildir, and at an IMAP client of Dovecot's. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { normalized, RawClient, stuffed } from "./client.ts";
import { startDovecot } from "./dovecot.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { readMaildir } from "./mailbox.ts";
import { readSamples, type Sample } from "./samples.ts";
import { ServerProcess } from "./server.ts";

async function startServer(folder: Folder, lineEndings: "lf" | "crlf"): Promise<ServerProcess> {
  const options = { domains: ["example.test"], users: "any", path: "./mail/{domain}/{user}", lineEndings };
  const config = await folder.write(
    "postrider.yaml",
    JSON.stringify({
      hostname: "mx.example.test",
      state: "./state",
      listen: [{ port: 0, address: "127.0.0.1" }],
      log: { format: "json" },
      plugins: [{ use: "maildir", with: options }],
    }),
  );
  return await ServerProcess.start(config);
}

type How = "DATA" | "BDAT";

/** A mailbox for each, so that nothing depends on the order of files. */
const userOf = ({ name }: Sample) => name.toLowerCase();

async function sendAll(server: ServerProcess, samples: readonly Sample[], how: How): Promise<void> {
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  for (const sample of samples) {
    const to = `${userOf(sample)}@example.test`;
    if (how === "DATA") {
      await client.envelope("bob@elsewhere.test", to);
      await client.send(stuffed(sample.bytes));
    } else {
      await client.say("MAIL FROM:<bob@elsewhere.test>");
      await client.say(`RCPT TO:<${to}>`);
      const half = sample.bytes.length >> 1;
      await client.send(`BDAT ${half}\r\n`);
      await client.send(sample.bytes.subarray(0, half));
      await client.expect(250);
      await client.send(`BDAT ${sample.bytes.length - half} LAST\r\n`);
      await client.send(sample.bytes.subarray(half));
    }
    await client.expect(250);
  }
  await client.say("QUIT", 221);
}

/** What should be delivered: lines end in CRLF, and an old Return-Path has gone (RFC 5321 §4.4). */
function expected({ bytes }: Sample, how: How = "DATA"): Buffer {
  // The end of DATA begins with the last line's CRLF; BDAT counts octets.
  const ended = how === "BDAT" || /\r\n$/.test(bytes.toString("latin1"))
    ? bytes
    : Buffer.concat([bytes, Buffer.from("\r\n")]);
  const text = normalized(ended).toString("latin1");
  const header = /^(?:[!-9;-~]+[ \t]*:.*\r\n(?:[ \t].*\r\n)*)*/.exec(text)![0];
  const kept = header.replace(/^Return-Path[ \t]*:.*\r\n(?:[ \t].*\r\n)*/gim, "");
  // What begins with white space would continue our last field: a line stands between.
  const between = /^[ \t]/.test(text) ? "\r\n" : "";
  return Buffer.from(between + kept + text.slice(header.length), "latin1");
}

async function compare(
  folder: Folder,
  samples: readonly Sample[],
  wanted: (sample: Sample) => Buffer,
): Promise<void> {
  for (const sample of samples) {
    const [message, another] = await readMaildir(folder.at("mail", "example.test", userOf(sample)));
    ok(message && !another, `${sample.name}: one message`);
    equal(message.deliveredTo, `${userOf(sample)}@example.test`);
    same(message.content, wanted(sample), sample.name);
  }
}

function same(found: Buffer, wanted: Buffer, name: string): void {
  if (found.equals(wanted)) return;
  const at = found.findIndex((octet, index) => octet !== wanted[index]);
  const around = (bytes: Buffer) =>
    JSON.stringify(bytes.subarray(Math.max(at - 30, 0), at + 30).toString("latin1"));
  throw new Error(`${name} differs at octet ${at}: ${around(found)} should be ${around(wanted)}`);
}

Deno.test("D02 D03 every sample is kept byte for byte", async () => {
  await using folder = await makeFolder();
  await using server = await startServer(folder, "crlf");
  const samples = await readSamples();
  ok(samples.length >= 47);
  await sendAll(server, samples, "DATA");
  await compare(folder, samples, (sample) => expected(sample));
});

Deno.test("B01 D02 every sample in two chunks is kept byte for byte", async () => {
  await using folder = await makeFolder();
  await using server = await startServer(folder, "crlf");
  const samples = await readSamples();
  await sendAll(server, samples, "BDAT");
  await compare(folder, samples, (sample) => expected(sample, "BDAT"));
});

Deno.test("M03 Dovecot hands out every sample as it was sent", async () => {
  await using folder = await makeFolder();
  const samples = await readSamples();
  {
    await using server = await startServer(folder, "lf");
    await sendAll(server, samples, "DATA");
    equal(await server.stop(), 0);
  }
  const withLf = (bytes: Buffer) => Buffer.from(bytes.toString("latin1").replace(/\r\n/g, "\n"), "latin1");
  await compare(folder, samples, (sample) => withLf(expected(sample)));
  if (Deno.uid() === 0) await Deno.chmod(folder.path, 0o755);
  await using dovecot = await startDovecot(folder.at("mail"));
  const inboxes = await dovecot.fetchAll(samples.map((sample) => `${userOf(sample)}@example.test`));
  for (const sample of samples) {
    const bodies = inboxes.get(`${userOf(sample)}@example.test`)!;
    equal(bodies.length, 1, sample.name);
    const sent = asImap(Buffer.concat([top(bodies[0]!), expected(sample)]));
    same(bodies[0]!, sent, sample.name);
  }
});

Deno.test("M03 Dovecot lists a mailbox with many messages, each once", async () => {
  await using folder = await makeFolder();
  await using server = await startServer(folder, "lf");
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  for (let i = 0; i < 100; i++) {
    await client.envelope("bob@elsewhere.test", "many@example.test");
    await client.send(`Subject: ${i}\r\n\r\n${i}\r\n.\r\n`);
    await client.expect(250);
  }
  if (Deno.uid() === 0) await Deno.chmod(folder.path, 0o755);
  await using dovecot = await startDovecot(folder.at("mail"));
  const bodies = (await dovecot.fetchAll(["many@example.test"])).get("many@example.test")!;
  const subjects = bodies.map((body) => Number(/^Subject: (.*)$/m.exec(body.toString())![1]));
  deepEqual(subjects.sort((a, b) => a - b), Array.from({ length: 100 }, (_, i) => i));
});

/** IMAP has no NUL (RFC 3501 §4.3.1): Dovecot shows it as 0x80. */
function asImap(bytes: Buffer): Buffer {
  return Buffer.from(bytes.map((octet) => octet === 0 ? 0x80 : octet));
}

/** The three fields that the server put on top. */
function top(bytes: Buffer): Buffer {
  const end = /^(?:.*\r\n){2}Received: .*\r\n(?:[ \t].*\r\n)*/.exec(bytes.toString("latin1"))![0].length;
  return bytes.subarray(0, end);
}
