/** The servers that are measured: how each is started, and what it keeps of a message. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startPostfix } from "./postfix.ts";
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
  stop(): Promise<void>;
}

/** Nothing is measured: what it needs is missing. The message says what. */
export class Missing extends Error {}

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

async function spawn(
  name: string,
  port: number,
  command: string,
  args: string[],
  log: string,
): Promise<Peer> {
  const child = new Deno.Command(command, { args, stdout: "null", stderr: "piped" }).spawn();
  const file = await Deno.open(log, { write: true, create: true, truncate: true });
  const logged = child.stderr.pipeTo(file.writable);
  const stop = async () => {
    child.kill("SIGTERM");
    await child.status;
    await logged;
  };
  try {
    await listening(name, port, child.status);
  } catch (error) {
    throw new Error(`${(error as Error).message} It says: ${(await Deno.readTextFile(log)).slice(-500)}`);
  }
  return { name, port, pid: child.pid, stop };
}

/** What C can do: takes messages and keeps nothing. */
export async function startSink(folder: string): Promise<Peer> {
  const port = freePort();
  const args = [...(Deno.uid() === 0 ? ["-u", "nobody"] : []), "-m", "20000", `127.0.0.1:${port}`, "4096"];
  return await spawn("smtp-sink", port, "smtp-sink", args, join(folder, "smtp-sink.log"));
}

const limits = `
hostname: mx.example.test
state: ./state
limits: { connections: 10000, connectionsPerIp: 10000 }
`;

async function startOurs(name: string, folder: string, yaml: string, port: number): Promise<Peer> {
  const config = join(folder, "postrider.yaml");
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(config, limits + yaml);
  const args = ["run", "-A", mod, "serve", "--config", config];
  return await spawn(name, port, Deno.execPath(), args, join(folder, "log"));
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
    "postrider",
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
  const peer = await startOurs("postrider", own, yaml, port);
  return { ...peer, maildir: join(own, "mail/b") };
}

/** Postfix with its queue, delivering by virtual(8). @throws {Missing} when it can't be run here. */
export async function startVirtual(folder: string): Promise<Peer> {
  if (Deno.uid() !== 0) throw new Missing("Postfix can only be started by root");
  const port = freePort();
  const own = join(folder, "postfix");
  const { pid, stop } = await startPostfix(own, port);
  await listening("Postfix", port);
  const queue = ["incoming", "active", "deferred", "maildrop"].map((name) => join(own, "queue", name));
  return { name: "Postfix", port, pid, maildir: join(own, "mail/b"), queue, stop };
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
