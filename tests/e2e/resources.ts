/**
 * What clients without good will cost the server (CASES X01, X02): `deno task resources` at full size, which prints the
 * figures; the end-to-end tests at a fifth of it and less. Memory and descriptors have to return to where they were.
 */
import { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { makeCertificate } from "./certificate.ts";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { run } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { deliver, deliverOn, maildir, writeSettings } from "./small_server.ts";
import {
  descriptorsOf,
  residentMemory,
  type Usage,
  usageAtRest,
  usageOf,
  weigh,
  weighable,
} from "./usage.ts";

/** How many clients of each kind. */
export interface Sizes {
  readonly idle: number;
  readonly slow: number;
  readonly resets: number;
  readonly handshakes: number;
  readonly halves: number;
}

/** As the cases name them. */
export const full: Sizes = { idle: 2000, slow: 500, resets: 10_000, handshakes: 200, halves: 1000 };

/** What one kind of clients did to the server. */
export interface Finding {
  readonly what: string;
  /** Before them, but after as many of the same kind: what is loaded and compiled once is no client's cost. */
  readonly before: Usage;
  /** While they were there. */
  readonly during: Pick<Usage, "resident" | "descriptors">;
  /** When they had gone. */
  readonly after: Usage;
  /** Milliseconds from their going to the 250 for another client's message. */
  readonly served: number;
}

/** Milliseconds within which all that they held has to be given back; a closed channel lingers for five seconds. */
const patience = 10_000;

/** A server: with STARTTLS at its first port, TLS from the first octet at the second, none at the third. */
export class Target implements AsyncDisposable {
  readonly server: ServerProcess;
  readonly folder: Folder;

  private constructor(server: ServerProcess, folder: Folder) {
    this.server = server;
    this.folder = folder;
  }

  static async start(): Promise<Target> {
    const folder = await makeFolder();
    try {
      await makeCertificate(folder, "mx.example.test");
      const address = "127.0.0.1";
      const config = await writeSettings(folder, {
        listen: ["starttls", "implicit", "none"].map((tls) => ({ port: 0, address, tls })),
        tls: { cert: "cert.pem", key: "key.pem" },
        limits: { connections: 4000, connectionsPerIp: 4000 },
        dns: { servers: ["127.0.0.1:9"] }, // nobody is asked
        plugins: [weigh, maildir],
      });
      const server = await ServerProcess.start(config, { listeners: 3, command: weighable });
      return new Target(server, folder);
    } catch (error) {
      await folder[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.server.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}

/** Clients of one kind, there and gone again; `during` is called while all that stay are there. */
export type Siege = (target: Target, during: () => Promise<void>) => Promise<void>;

/**
 * Lets them come twice, and looks at the second time.
 *
 * @param first Who comes the first time, where that need not be the same.
 */
export async function withstand(
  target: Target,
  what: string,
  siege: Siege,
  first: Siege = siege,
): Promise<Finding> {
  const { server, pid } = target;
  await deliver(server.port(), "warm");
  const cold = await usageOf(server);
  await first(target, () => Promise.resolve());
  const before = await usageAtRest(server, cold, patience);
  let during = { resident: 0, descriptors: 0 };
  await siege(target, async () => {
    during = { resident: await residentMemory(pid), descriptors: await descriptorsOf(pid) };
  });
  const gone = performance.now();
  await deliver(server.port(), "next");
  const served = performance.now() - gone;
  return { what, before, during, after: await usageAtRest(server, before, patience), served };
}

// ── Who comes ──────────────────────────────────────────────────────────────────────────────────────

/** So many at a time are on their way in. */
const entering = 50;

/** Does something so many times, some of it at a time. */
async function many<T>(count: number, one: (nth: number) => Promise<T>): Promise<T[]> {
  const done: T[] = [];
  while (done.length < count) {
    const some = Math.min(entering, count - done.length);
    done.push(...await Promise.all(Array.from({ length: some }, (_, i) => one(done.length + i))));
  }
  return done;
}

async function greeted(port: number): Promise<RawClient> {
  const client = await RawClient.connect(port);
  await client.say("EHLO client.test");
  return client;
}

function leave(clients: readonly RawClient[]): void {
  for (const client of clients) client[Symbol.dispose]();
}

/** Clients that say EHLO and then nothing. */
export const idle = (count: number): Siege => async ({ server }, during) => {
  const clients = await many(count, () => greeted(server.port()));
  await during();
  leave(clients);
};

/** A socket of `node:net`, which can reset; what becomes of it is nobody's concern. */
function socketTo(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => resolve(socket));
    socket.once("error", reject).on("error", () => {});
  });
}

/** Clients that reset as soon as they are connected: some before they are accepted, some before the greeting, some behind it. */
export const resets = (count: number): Siege => async ({ server }, during) => {
  await many(count, async (nth) => {
    const socket = await socketTo(server.port(nth % 3));
    socket.resetAndDestroy();
    await new Promise((resolve) => socket.once("close", resolve));
    if (nth === count - 1) await during();
  });
};

/** The record that a TLS 1.2 or 1.3 client begins with, cut off: it announces 512 octets (RFC 8446 §5.1, §4.1.2). */
const halfHello = Buffer.from(`1603010200010001fc0303${"ab".repeat(40)}`, "hex");

/**
 * Clients that begin a TLS handshake and don't go on, behind STARTTLS and on a port of TLS alone.
 *
 * @param how `go` by themselves, or `stall` until the server's patience is over.
 */
export const handshakes = (count: number, how: "go" | "stall"): Siege => async ({ server }, during) => {
  const clients = await many(count, async (nth) => {
    if (nth % 2 === 0) {
      const client = await greeted(server.port());
      await client.say("STARTTLS", 220);
      await client.send(halfHello);
      return { closed: () => client.closed(), leave: () => client[Symbol.dispose]() };
    }
    const socket = await socketTo(server.port(1));
    socket.write(halfHello);
    const closed = new Promise<true>((resolve) => socket.resume().once("close", () => resolve(true)));
    return { closed: () => closed, leave: () => socket.destroy() };
  });
  await during();
  if (how === "stall") await Promise.all(clients.map((client) => client.closed()));
  for (const client of clients) client.leave();
};

/** Larger than what the spool keeps in memory: it lies in a file while it comes. */
const largeHalf = `Subject: half\r\n\r\n${"0123456789abcdef\r\n".repeat(16_000)}`;
const smallHalf = largeHalf.slice(0, 20_000);

/** Clients that go amid a message, one in four of them amid a large one; at most so many at a time are there. */
export const halves = (count: number, files: (count: number) => void): Siege => async (target, during) => {
  const { server, folder } = target;
  const bodies = async () =>
    (await Array.fromAsync(Deno.readDir(folder.at("state", "spool", "body")))).length;
  for (let left = count; left > 0; left -= 100) {
    const clients = await many(Math.min(left, 100), async (nth) => {
      const client = await greeted(server.port());
      await client.envelope("bob@elsewhere.test", "alice@example.test");
      await client.send(nth % 4 === 0 ? largeHalf : smallHalf);
      return client;
    });
    if (left <= 100) {
      await during();
      files(await bodies());
    }
    leave(clients);
  }
};

// ── Who doesn't notice ─────────────────────────────────────────────────────────────────────────────

/** How long messages of normal clients took, in milliseconds. */
export interface Calm {
  readonly median: number;
  readonly longest: number;
}

/** Twenty clients, each with twenty messages on a connection of its own. */
async function normal({ server }: Target): Promise<Calm> {
  const times: number[] = [];
  await Promise.all(Array.from({ length: 20 }, async (_, nth) => {
    using client = await greeted(server.port());
    for (let i = 0; i < 20; i++) {
      const began = performance.now();
      await deliverOn(client, `user${nth}`, `message ${i}`);
      times.push(performance.now() - began);
    }
    await client.say("QUIT", 221);
  }));
  times.sort((a, b) => a - b);
  return { median: times[times.length >> 1]!, longest: times.at(-1)! };
}

/** Normal clients alone, and among so many that send a line octet by octet, ten a second, all along. */
export async function slowloris(
  target: Target,
  count: number,
): Promise<{ readonly alone: Calm; readonly among: Calm; readonly finding: Finding }> {
  await normal(target); // to have run once
  const alone = await normal(target);
  let among = alone;
  const finding = await withstand(target, `${count} slowloris, 20 normal clients`, async (_, during) => {
    const clients = await many(count, () => greeted(target.server.port()));
    const drip = setInterval(() => {
      for (const client of clients) client.send("X").catch(() => {});
    }, 100);
    try {
      among = await normal(target);
      await during();
    } finally {
      clearInterval(drip);
      leave(clients);
    }
  });
  return { alone, among, finding };
}

/**
 * Clients until the server has no descriptor left, which is soon: the kernel is told of a new limit. They go again. Another
 * client is there all along.
 *
 * @returns Besides the figures, what that client heard to its message while there was no descriptor, and when there were some.
 */
export async function exhaust(
  target: Target,
): Promise<{ readonly finding: Finding; readonly heard: readonly number[] }> {
  const { server, pid } = target;
  const room = 30;
  let isLimited = false;
  using other = await greeted(server.port(2));
  const send = async () => {
    await other.envelope("bob@elsewhere.test", "alice@example.test");
    await other.send("Subject: other\r\n\r\nHello.\r\n.\r\n");
    return (await other.reply()).code;
  };
  const heard: number[] = [];
  const finding = await withstand(target, "no descriptors left", async (_, during) => {
    if (!isLimited) await leaveRoom(pid, room);
    isLimited = true;
    const sockets = await many(4 * room, (nth) => socketTo(server.port(nth % 3)));
    await server.logged("connections can't be accepted; trying again");
    heard.push(await send());
    await during();
    for (const socket of sockets) socket.destroy();
  });
  await deliver(server.port(2), "next");
  await overTls(server.port(1));
  heard.push(await send());
  return { finding, heard };
}

/** Resolves when a port that speaks TLS from the first octet greets. */
async function overTls(port: number): Promise<void> {
  const socket = connectTls({ host: "127.0.0.1", port, rejectUnauthorized: false });
  await new Promise((resolve, reject) => socket.once("data", resolve).once("error", reject));
  socket.destroy();
}

/** Lowers a process's limit of open files, so that it can open so many more. */
async function leaveRoom(pid: number, room: number): Promise<void> {
  const used = new Set(await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`), ({ name }) => Number(name)));
  let limit = 0;
  for (let free = 0; free < room; limit++) if (!used.has(limit)) free++;
  const { code, stderr } = await run("prlimit", [`--pid=${pid}`, `--nofile=${limit}`]);
  if (code !== 0) throw new Error(stderr);
}

// ── All of it ──────────────────────────────────────────────────────────────────────────────────────

if (import.meta.main) {
  const show = ({ what, before, during, after, served }: Finding) => {
    const resident = [before, during, after].map((usage) => (usage.resident / 1024).toFixed(0)).join(" → ");
    const descriptors = [before, during, after].map((usage) => usage.descriptors).join(" → ");
    const kept = ((after.heap - before.heap) / 1024).toFixed(0);
    console.log(
      `${what}: ${resident} MiB resident, ${descriptors} descriptors, ${kept} KiB of objects more; ` +
        `served again after ${served.toFixed(0)} ms`,
    );
  };
  const calm = ({ median, longest }: Calm) =>
    `median ${median.toFixed(1)} ms, longest ${longest.toFixed(0)} ms`;
  await using target = await Target.start();
  let files = 0;
  const gone = handshakes(full.handshakes, "go");
  const sieges: [what: string, siege: Siege, first?: Siege][] = [
    [`${full.idle} idle connections`, idle(full.idle)],
    [`${full.resets} connections, reset at once`, resets(full.resets)],
    [`${full.handshakes} half handshakes, gone`, gone],
    [`${full.handshakes} half handshakes, stalled`, handshakes(full.handshakes, "stall"), gone],
    [`${full.halves} half messages`, halves(full.halves, (count) => files = count)],
  ];
  for (const siege of sieges) show(await withstand(target, ...siege));
  console.log(`(${files} of the last hundred messages lay in files)`);
  const { alone, among, finding } = await slowloris(target, full.slow);
  show(finding);
  console.log(`messages of normal clients, alone: ${calm(alone)}; among slowloris: ${calm(among)}`);
  const { finding: exhausted, heard } = await exhaust(target);
  show(exhausted);
  console.log(`what another client heard to its messages meanwhile and then: ${heard.join(", ")}`);
}
