/**
 * What SPF, DKIM and DMARC cost: in this process, in memory, with all records in the resolver's hands, so that it is their own
 * work. Each figure is CPU time with the plugins less that without them, in rounds that take turns.
 */
import { Buffer } from "node:buffer";
import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { cpuUsage } from "node:process";
import { fileURLToPath } from "node:url";
import { readKey } from "../plugins/authentication/keys.ts";
import { mailboxes, type TestPlugin, type TestServer, testServer } from "../server/testing/mod.ts";
import * as report from "./report.ts";
import { type Extent, type Part, small } from "./rounds.ts";

const trustedNetworks = ["192.0.2.0/24"];
const domain = "example.net";

interface Key {
  readonly type: "rsa" | "ed25519";
  readonly file: string;
  readonly record: string;
}

async function makeKey(folder: string, type: Key["type"]): Promise<Key> {
  const { privateKey } = type === "rsa"
    ? generateKeyPairSync("rsa", { modulusLength: 2048 })
    : generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  const file = join(folder, `${type}.pem`);
  await Deno.writeTextFile(file, pem);
  return { type, file, record: (await readKey(file, pem)).record };
}

const header = [
  `From: Alice <alice@${domain}>`,
  "To: bob@example.org",
  "Subject: A letter of five kilobytes",
  "Date: Sat, 21 Nov 2026 10:00:00 +0000",
  `Message-ID: <1@${domain}>`,
  "MIME-Version: 1.0",
  "Content-Type: text/plain; charset=utf-8",
  "",
  "",
].join("\r\n");
const letter = header +
  "A line of an ordinary letter, that is not too short.\r\n".repeat(90).slice(0, small - header.length);

const signing = (
  { type, file }: Key,
): TestPlugin => ["dkim-sign", { keys: [{ domain, selector: type, key: file }] }];

function open(
  plugins: readonly TestPlugin[],
  keys: readonly Key[] = [],
  trusted = false,
): Promise<TestServer> {
  const records = keys.map(({ type, record }) =>
    [`${type}._domainkey.${domain}`, { TXT: [record] }] as const
  );
  return testServer({
    plugins: [...plugins, mailboxes(["example.org"])],
    dns: {
      [domain]: { TXT: ["v=spf1 include:_spf.example.net -all"] },
      "_spf.example.net": { TXT: ["v=spf1 ip4:192.0.2.0/24 -all"] },
      [`_dmarc.${domain}`]: { TXT: ["v=DMARC1; p=reject"] },
      ...Object.fromEntries(records),
    },
    ...(trusted && { trustedNetworks }),
  });
}

async function send(server: TestServer, content: string): Promise<void> {
  const { outcome, reply } = await server.send({ from: `alice@${domain}`, to: "bob@example.org", content });
  if (outcome !== "accepted") throw new Error(`${reply.code} ${reply.text}`);
}

/** Milliseconds of CPU a message. */
async function cost(server: TestServer, content: string, messages: number): Promise<number> {
  const before = cpuUsage();
  for (let n = 0; n < messages; n++) await send(server, content);
  const { user, system } = cpuUsage(before);
  return (user + system) / 1000 / messages;
}

/** What the plugins cost beyond what the message costs anyway. */
async function differences(
  [with_, without]: readonly [TestServer, TestServer],
  content: string,
  messages: number,
  rounds: number,
): Promise<number[]> {
  for (const server of [with_, without]) await cost(server, content, messages);
  const found: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const plain = await cost(without, content, messages);
    found.push(await cost(with_, content, messages) - plain);
  }
  return found;
}

/** A message as it leaves after it was signed. */
async function signedBy(key: Key): Promise<string> {
  await using server = await open([signing(key)], [], true);
  await send(server, letter);
  const content = server.delivered[0]!.content;
  return content.slice(content.indexOf("DKIM-Signature:"));
}

/** What others do in the meantime: `count` times, each `every` milliseconds. */
interface Busy {
  readonly count: number;
  readonly every: number;
  work(nth: number): Promise<void>;
}

/**
 * How long another session waits for a reply, in milliseconds, while the server is busy: what 99 % of its replies stay below. The
 * others are those that the machine itself has held up, with more threads at work than processors.
 */
async function longWait(server: TestServer, { count, every, work }: Busy): Promise<number> {
  const client = server.connect({ ip: "198.51.100.1" });
  await client.reply();
  await client.command("EHLO client.example");
  const busy: Promise<void>[] = [];
  const waits: number[] = [];
  for (let n = 0; n < count; n++) {
    busy.push(work(n));
    const until = performance.now() + every;
    while (performance.now() < until) {
      const asked = performance.now();
      await client.command("EHLO client.example"); // RSET is an error after a hundred
      // A turn of the event loop, which a signature in this thread would hold up.
      await new Promise<void>((resolve) => setTimeout(resolve, 0));
      waits.push(performance.now() - asked);
    }
  }
  await Promise.all(busy);
  client.close();
  await client.closed;
  return waits.sort((one, other) => one - other)[Math.floor(waits.length * 0.99)]!;
}

async function delays(key: Key, messages: number, rounds: number): Promise<number[]> {
  await using with_ = await open([signing(key)], [], true);
  await using without = await open([], [], true);
  const busy = (server: TestServer, count = messages) => ({
    count,
    every: 10,
    work: () => send(server, letter),
  });
  const found: number[] = [];
  for (const server of [with_, without]) await longWait(server, busy(server, 50));
  for (let round = 0; round < rounds; round++) {
    const plain = await longWait(without, busy(without));
    found.push(await longWait(with_, busy(with_)) - plain);
  }
  return found;
}

/** A guess at a password, from a network of its own, so that it is hashed and not told to wait. */
async function guess(server: TestServer, nth: number): Promise<void> {
  const ip = `10.${nth >> 8 & 255}.${nth & 255}.1`;
  const client = server.connect({ role: "submission", tls: "implicit", ip });
  await client.reply();
  await client.command("EHLO client.example");
  const { code } = await client.command(`AUTH PLAIN ${btoa(`\0alice@example.test\0wrong ${nth}`)}`);
  client.close();
  await client.closed;
  if (code !== 535) throw new Error(`a wrong password was answered ${code}`);
}

/** What ten guesses a second add to another session's waits; without them it is all alone. */
async function hashing(seconds: number, rounds: number): Promise<number[]> {
  const users = fileURLToPath(new URL("../examples/quickstart/users.yaml", import.meta.url));
  await using server = await testServer({ plugins: [["auth", { users }], mailboxes(["example.org"])] });
  const [count, every] = [seconds * 10, 100];
  let nth = 0;
  const guessing: Busy = { count, every, work: () => guess(server, nth++) };
  const idle: Busy = { count, every, work: () => Promise.resolve() };
  const found: number[] = [];
  await longWait(server, { ...guessing, count: 10 });
  for (let round = 0; round < rounds; round++) {
    const plain = await longWait(server, idle);
    found.push(await longWait(server, guessing) - plain);
  }
  return found;
}

/** SPF, DKIM, DMARC; signing. */
export async function authentication(folder: string, { rounds, quick }: Extent): Promise<Part[]> {
  const messages = quick ? 200 : 1000;
  const [rsa, ed] = [await makeKey(folder, "rsa"), await makeKey(folder, "ed25519")];
  const content = await signedBy(rsa);
  await using checking = await open(["spf", "dkim", "dmarc"], [rsa, ed]);
  await using plain = await open([]);
  await using signs = await open([signing(ed)], [], true);
  const checks = await differences([checking, plain], content, messages, rounds);
  if (!checking.delivered.at(-1)!.content.includes("dkim=pass")) {
    throw new Error("The signature was not good.");
  }
  const signatures = await differences([signs, plain], letter, messages, rounds);
  const waits = await delays(rsa, quick ? 100 : 300, rounds);
  const guesses = await hashing(quick ? 1 : 3, rounds);
  const goal = (what: string, most: number, found: readonly number[], digits: number) => ({
    what,
    wanted: `≤ ${most} ms`,
    got: `${report.spread([...found], digits)} ms`,
    met: report.median([...found]) <= most,
  });
  const octets = Buffer.byteLength(content);
  return [{
    table: "",
    goals: [
      goal(`SPF, DKIM (RSA-2048) and DMARC of a message of ${octets} octets, CPU`, 3, checks, 2),
      goal("signing 5 KB with Ed25519, CPU", 0.2, signatures, 2),
      goal(
        "RSA-2048 signing, 100 a second: 99 % of another session's replies, later than without by",
        5,
        waits,
        1,
      ),
      goal(
        "ten guesses at a password a second: 99 % of another session's replies, later than without by",
        5,
        guesses,
        1,
      ),
    ],
  }];
}
