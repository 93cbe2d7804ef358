/** Load by Postfix's smtp-source, and what came of it. */
import { join } from "node:path";
import { cpuSeconds, residentMemory } from "./process.ts";
import type { Peer } from "./peers.ts";

/** What is sent. */
export interface Shape {
  readonly sessions: number;
  readonly octets: number;
  readonly messages: number;
  /** Many messages a connection (`-d`), or one. */
  readonly connections: "kept" | "one each";
}

/** What one run came to. */
export interface Run {
  /** Messages a second, until the last `250`. */
  readonly accepted: number;
  /** Messages a second, until the last one is where it belongs. */
  readonly delivered: number;
  /** CPU seconds of the server for 1,000 messages. */
  readonly cpu: number;
  /** The highest of the samples of resident memory, in octets. */
  readonly memory: number;
}

/** For one run, in milliseconds; a server that is slower than that is not measured. */
const patience = 60_000;

/** Sends, and waits for the server to be done. @throws {Error} when a message was refused, or it takes longer than a minute. */
export async function run(peer: Peer, shape: Shape): Promise<Run> {
  if (peer.maildir) await empty(join(peer.maildir, "new"));
  const late = AbortSignal.timeout(patience);
  const earlier = await peer.sink?.count() ?? 0;
  const before = await cpuSeconds(peer.pid);
  const sampler = sampleMemory(peer.pid);
  const start = performance.now();
  await send(peer, shape, late);
  const accepted = performance.now();
  await drained(peer, shape.messages, earlier, late);
  const delivered = performance.now();
  const memory = await sampler.stop();
  const cpu = await cpuSeconds(peer.pid) - before;
  const rate = (end: number) => shape.messages / (end - start) * 1000;
  return { accepted: rate(accepted), delivered: rate(delivered), cpu: cpu / shape.messages * 1000, memory };
}

async function send(peer: Peer, shape: Shape, signal: AbortSignal): Promise<void> {
  const { sessions, octets, messages, connections } = shape;
  const numbers = ["-s", sessions, "-l", octets, "-m", messages].map(String);
  const args = [...numbers, "-f", "a@example.test", "-t", "b@example.test", `127.0.0.1:${peer.port}`];
  if (connections === "kept") args.unshift("-d");
  const { success, stderr } = await new Deno.Command("smtp-source", {
    args,
    signal,
    stdout: "null",
    stderr: "piped",
  })
    .output();
  if (success) return;
  const why = signal.aborted ? "not done after a minute" : new TextDecoder().decode(stderr).trim();
  throw new Error(`${peer.name}: smtp-source: ${why}`);
}

/** Waits until all that was sent is where it belongs, and its queue, where that is a folder, is empty. */
async function drained(peer: Peer, messages: number, earlier: number, signal: AbortSignal): Promise<void> {
  const { name, maildir, sink, queue } = peer;
  if (!maildir && !sink) return;
  for (;;) {
    const there = maildir ? await count(join(maildir, "new")) : await sink!.count() - earlier;
    const waiting = there < messages ? messages - there : await sum(queue ?? []);
    if (waiting === 0) return;
    if (signal.aborted) throw new Error(`${name}: ${waiting} messages were not delivered after a minute`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function sum(folders: readonly string[]): Promise<number> {
  let files = 0;
  for (const folder of folders) files += await count(folder);
  return files;
}

/** Files in a folder and those below it. */
async function count(folder: string): Promise<number> {
  let files = 0;
  try {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      files += isDirectory ? await count(join(folder, name)) : 1;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return files;
}

async function empty(folder: string): Promise<void> {
  try {
    for await (const { name } of Deno.readDir(folder)) await Deno.remove(join(folder, name));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function sampleMemory(pid: number): { stop(): Promise<number> } {
  let most = 0;
  let sampling = Promise.resolve();
  const sample = () => {
    sampling = sampling.then(async () => {
      most = Math.max(most, await residentMemory(pid));
    });
  };
  sample();
  const timer = setInterval(sample, 500);
  return {
    async stop() {
      clearInterval(timer);
      sample();
      await sampling;
      return most;
    },
  };
}
