/** The servers that are measured: how each is started, and what it keeps of a message. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Deliver, startPostfix } from "./postfix.ts";
import { listenerOf } from "./process.ts";

/** A server that runs. */
export interface Peer {
  readonly name: string;
  readonly port: number;
  /** The root of its processes. */
  readonly pid: number;
  /** Where its mail ends up; absent where it is thrown away. */
  readonly maildir?: string;
  /** Folders that are empty once it has delivered everything it accepted; absent where accepted is delivered. */
  readonly queue?: readonly string[];
  /** Counts the messages that arrived where it sends them; absent where it sends none. */
  readonly sink?: CountingSink;
  stop(): Promise<void>;
}

/** Nothing is measured: what it needs is missing. The message says what. */
export class Missing extends Error {}

/** A peer that counts what it takes. */
export interface CountingSink extends Peer {
  /** Messages so far. */
  count(): Promise<number>;
}

const mod = fileURLToPath(new URL("../mod.ts", import.meta.url));

/** A port that is free now. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}

/** Waits for a server to listen. @throws {Error} after 20 s, or when the process has ended. */
export async function listening(name: string, port: number, ended?: Promise<unknown>): Promise<void> {
  let over = false;
  ended?.then(() => over = true);
  for (const late = Date.now() + 20_000; Date.now() < late && !over;) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error(`${name} does not listen on port ${port}.`);
}

/**
 * Starts a server and waits for it to listen.
 *
 * @param log Where it writes what it says, by itself: read by this process that would cost one of the cores measured.
 * @param env Besides what this process has.
 */
export async function spawn(
  name: string,
  port: number,
  command: readonly string[],
  log: string,
  env: Record<string, string> = {},
): Promise<Peer> {
  const args = ["-c", 'exec "$@" >"$0" 2>&1', log, ...command];
  const child = new Deno.Command("sh", { args, env, stdin: "null", stdout: "null", stderr: "null" }).spawn();
  let over = false;
  const status = child.status.finally(() => over = true);
  const stop = async () => {
    if (over) return;
    child.kill("SIGTERM");
    const stubborn = setTimeout(() => child.kill("SIGKILL"), 30_000);
    await status;
    clearTimeout(stubborn);
  };
  try {
    await listening(name, port, status);
  } catch (error) {
    await stop();
    const said = (await Deno.readTextFile(log).catch(() => "")).slice(-500);
    throw new Error(`${(error as Error).message} It says: ${said}`);
  }
  return { name, port, pid: child.pid, stop };
}

const sinkCommand = (port: number, ...options: string[]) => [
  "smtp-sink",
  ...(Deno.uid() === 0 ? ["-u", "nobody"] : []),
  ...["-m", "20000", ...options, `127.0.0.1:${port}`, "4096"],
];

/** What C can do: takes messages and keeps nothing. */
export async function startSink(folder: string): Promise<Peer> {
  const port = freePort();
  return await spawn("smtp-sink", port, sinkCommand(port), join(folder, "smtp-sink.log"));
}

/** Takes messages, and counts them in a file in memory: the disk is for those who are measured. */
export async function startCountingSink(): Promise<CountingSink> {
  const port = freePort();
  const file = await Deno.makeTempFile({ dir: "/dev/shm", prefix: "postrider-bench-" });
  const peer = await spawn("smtp-sink", port, sinkCommand(port, "-c"), file);
  return {
    ...peer,
    async count() {
      using counts = await Deno.open(file);
      const { size } = await counts.stat();
      await counts.seek(Math.max(0, size - 200), Deno.SeekMode.Start);
      const tail = new Uint8Array(200);
      const length = await counts.read(tail) ?? 0;
      const last = [...new TextDecoder().decode(tail.subarray(0, length)).matchAll(/mesg=([0-9]+)\r/g)].at(
        -1,
      );
      return Number(last?.[1] ?? 0);
    },
    async stop() {
      await peer.stop();
      await Deno.remove(file);
    },
  };
}

const limits = `
hostname: mx.example.test
state: ./state
limits: { connections: 10000, connectionsPerIp: 10000 }
`;

/** This server, with a configuration. @param port Where that listens. */
export async function startOurs(folder: string, yaml: string, port: number): Promise<Peer> {
  const config = join(folder, "postrider.yaml");
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(config, limits + yaml);
  const args = ["run", "-A", mod, "serve", "--config", config];
  return await spawn("postrider", port, [Deno.execPath(), ...args], join(folder, "log"));
}

/** This server, with `relay` and `discard`. */
export async function startDiscard(folder: string, tls?: { cert: string; key: string }): Promise<Peer> {
  const port = freePort();
  const secure = tls ? `tls: { cert: "${tls.cert}", key: "${tls.key}" }` : "";
  const listen = tls
    ? `{ port: ${port}, address: 127.0.0.1, tls: implicit }`
    : `{ port: ${port}, address: 127.0.0.1 }`;
  const plugins = `plugins:
  - use: relay
    with: { networks: [127.0.0.0/8] }
  - use: discard
`;
  return await startOurs(
    join(folder, tls ? "tls" : "discard"),
    `${secure}\nlisten: [${listen}]\n${plugins}`,
    port,
  );
}

/** This server, with `maildir`. */
export async function startMaildir(folder: string): Promise<Peer> {
  const port = freePort();
  const yaml = `listen: [{ port: ${port}, address: 127.0.0.1 }]
plugins:
  - use: maildir
    with: { domains: [example.test], users: any, path: "./mail/{user}" }
`;
  const own = join(folder, "maildir");
  const peer = await startOurs(own, yaml, port);
  return { ...peer, maildir: join(own, "mail/b") };
}

/** This server, which sends everything on to one place. */
export async function startRelay(folder: string, to: number, sink?: CountingSink): Promise<Peer> {
  const port = freePort();
  const yaml = `listen: [{ port: ${port}, address: 127.0.0.1 }]
plugins:
  - use: relay
    with: { networks: [127.0.0.0/8] }
outbound:
  route: { "*": { host: 127.0.0.1, port: ${to} } }
`;
  return { ...await startOurs(folder, yaml, port), ...(sink && { sink }) };
}

/** This server, which passes everything on to one place while the client waits. */
export async function startProxy(folder: string, to: number, sink?: CountingSink): Promise<Peer> {
  const port = freePort();
  const yaml = `listen: [{ port: ${port}, address: 127.0.0.1 }]
plugins:
  - use: relay
    with: { networks: [127.0.0.0/8] }
  - use: proxy
    with: { domains: any, host: 127.0.0.1, port: ${to} }
`;
  return { ...await startOurs(folder, yaml, port), ...(sink && { sink }) };
}

async function startQueue(folder: string, deliver: Deliver): Promise<Peer> {
  if (Deno.uid() !== 0) throw new Missing("Postfix can only be started by root");
  const port = freePort();
  const { pid, stop } = await startPostfix(folder, port, deliver);
  try {
    await listening("Postfix", port);
  } catch (error) {
    await stop();
    throw error;
  }
  const queue = ["incoming", "active", "deferred", "maildrop"].map((name) => join(folder, "queue", name));
  return { name: "Postfix", port, pid, queue, stop };
}

/** Postfix with its queue, delivering by virtual(8). @throws {Missing} when it can't be run here. */
export async function startVirtual(folder: string): Promise<Peer> {
  const own = join(folder, "postfix");
  return { ...await startQueue(own, "virtual"), maildir: join(own, "mail/b") };
}

/** Postfix with its queue, delivering by smtp(8). @throws {Missing} when it can't be run here. */
export async function startPostfixRelay(folder: string, sink: CountingSink): Promise<Peer> {
  return { ...await startQueue(join(folder, "postfix-relay"), { relayTo: sink.port }), sink };
}

/** Any server that listens already: `haraka=2503`. */
export async function running(text: string): Promise<Peer> {
  const [, name, digits] = /^([^=]+)=([0-9]+)$/.exec(text) ?? [];
  if (name === undefined) throw new Missing(`"${text}" is not NAME=PORT`);
  const port = Number(digits);
  const pid = await listenerOf(port);
  if (pid === undefined) throw new Missing(`nothing of ours to see listens on port ${port}`);
  return { name, port, pid, stop: () => Promise.resolve() };
}
