/** What a dry run stands on: the plugins of a configuration, set up on edges that are read and never written. */
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { Problem } from "../config/read.ts";
import { openDns } from "../dns.ts";
import { serverText } from "../dns/servers.ts";
import type { Log } from "../log.ts";
import { textFormatter } from "../log/format.ts";
import { prepare, type Read } from "../prepare.ts";
import { defer } from "../plugin.ts";
import { BodyStore } from "../spool/body.ts";
import { memoryStore, openStore, type Stores } from "../store.ts";
import type { ExplainEdges } from "./run.ts";
import { storesOver } from "./store.ts";

/** Ready, or why not. */
export type DryServer =
  & AsyncDisposable
  & (
    | { readonly kind: "ready"; readonly edges: ExplainEdges; readonly notes: readonly string[] }
    | { readonly kind: "refused"; readonly problems: readonly Problem[] }
  );

/** Octets of plugins' own folders that are copied for them. */
const mostCopied = 64 * 1024 ** 2;

/**
 * Sets everything up. Plugins find their store as it is on the disk, and a copy of their folder; what they write to either is
 * thrown away in the end.
 *
 * @throws {Error} when what is there can't be read.
 */
export async function openDryServer(found: Read, clock: Clock): Promise<DryServer> {
  const { config, source } = found;
  const closers: (() => unknown)[] = [];
  const dispose = async () => {
    for (const close of closers.reverse()) await close();
  };
  try {
    const folder = await Deno.makeTempDir({ prefix: "postrider-explain-" });
    closers.push(() => Deno.remove(folder, { recursive: true }));
    const notes: string[] = [];
    if (!await copyFolder(join(config.state, "plugins"), join(folder, "plugins"))) {
      notes.push("plugins find their folders empty: the real ones are too large to be copied.");
    }
    const base = await readStore(join(config.state, "store.db"), clock);
    closers.push(() => base.close());
    const dns = openDns({
      ...(config.dns.servers.length > 0 && { servers: config.dns.servers.map(serverText) }),
      clock,
    });
    closers.push(() => dns.close());
    const bodies = await BodyStore.open(join(folder, "bodies"));
    const recorder = record(clock);
    const prepared = await prepare(found, 1, {
      clock,
      log: recorder.log,
      store: storesOver(base, clock),
      cache: memoryStore(clock),
      dns,
      state: folder,
      submit: ({ sender, recipients }) => {
        recorder.log.info("would send a message of its own", { from: sender, to: recipients });
        return Promise.resolve({ id: "dry-run" });
      },
      verify: () => Promise.resolve(defer("4.4.0", "a dry run asks no next hop")),
      queue: {
        retry: (domain) => {
          recorder.log.info("would try a domain's queue", { domain });
          return Promise.resolve({ messages: 0 });
        },
      },
      history: { after: () => Promise.reject(new Error("there is no history in a dry run")) },
    });
    if (prepared.kind === "refused") {
      return { kind: "refused", problems: prepared.problems, [Symbol.asyncDispose]: dispose };
    }
    const { generation } = prepared;
    closers.push(() => generation.dispose());
    recorder.take(); // what was said at the start is `check`'s to tell
    const edges = { config, source, generation, clock, dns, bodies, logged: recorder.take };
    return { kind: "ready", edges, notes, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** What a server has stored; empty where none has run yet. */
async function readStore(path: string, clock: Clock): Promise<Stores> {
  try {
    await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return memoryStore(clock);
    throw error;
  }
  return await openStore(path, clock, "read");
}

/** Lines that plugins log from `info` on, until they are taken. */
function record(clock: Clock): { readonly log: Log; readonly take: () => readonly string[] } {
  let lines: string[] = [];
  const format = textFormatter(false);
  const make = (bound: Parameters<Log["with"]>[0]): Log => {
    const at = (level: "info" | "warning" | "error"): Log["info"] => (event, fields) => {
      const line = format(clock.now(), level, event, { ...bound, ...fields });
      lines.push(line.trimEnd().replace(/^\S+ +/, "")); // without the time
    };
    return {
      debug() {},
      info: at("info"),
      warning: at("warning"),
      error: at("error"),
      with: (fields) => make({ ...bound, ...fields }),
    };
  };
  return {
    log: make({}),
    take() {
      const taken = lines;
      lines = [];
      return taken;
    },
  };
}

/** @returns Whether all of it was copied; if it is too large, nothing is. */
async function copyFolder(from: string, to: string): Promise<boolean> {
  const files: string[] = [];
  const folders: string[] = [];
  let octets = 0;
  async function look(folder: string): Promise<void> {
    for await (const { name, isDirectory, isFile } of Deno.readDir(join(from, folder))) {
      const path = join(folder, name);
      if (isDirectory) {
        folders.push(path);
        await look(path);
      } else if (isFile) {
        files.push(path);
        octets += (await Deno.stat(join(from, path))).size;
      }
    }
  }
  try {
    await look("");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
  if (octets > mostCopied) return false;
  await Deno.mkdir(to, { mode: 0o700 });
  for (const folder of folders) await Deno.mkdir(join(to, folder), { mode: 0o700 });
  for (const file of files) await Deno.copyFile(join(from, file), join(to, file));
  return true;
}
