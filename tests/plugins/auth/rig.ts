/** What the tests of the auth plugin share: cheap hashes, and a host with a clock and a cache that tests can see. */
import { scryptSync } from "node:crypto";
import { formatHash, readHash, type Scrypt } from "../../../plugins/auth/phc.ts";
import type { Host, Json, Session } from "../../../server/plugin.ts";
import { memoryStore } from "../../../server/store.ts";
import { FakeClock } from "../../../server/testing/clock.ts";
import { session } from "../harness.ts";

/** A PHC string of this password that takes no time to check. */
export function cheapHash(password: string, ln = 1): string {
  const salt = new Uint8Array(16).fill(7);
  const hash = scryptSync(password, salt, 32, { N: 2 ** ln, r: 8, p: 1 });
  return formatHash({ kind: "scrypt", ln, r: 8, p: 1, salt, hash: new Uint8Array(hash) });
}

/** The same, read. */
export function cheap(password: string, ln = 1): Scrypt {
  const read = readHash(cheapHash(password, ln));
  if ("problem" in read || read.hash.kind !== "scrypt") throw new Error("not a scrypt hash");
  return read.hash;
}

/** A line of the log. */
export interface Line {
  readonly level: string;
  readonly text: string;
  readonly fields: Record<string, Json>;
}

/** A host for parts of the plugin and for the whole of it. */
export function fakeHost() {
  const clock = new FakeClock();
  const lines: Line[] = [];
  const write = (level: string) => (text: string, fields: Record<string, Json> = {}) =>
    void lines.push({ level, text, fields });
  const log: Host["log"] = {
    debug: write("debug"),
    info: write("info"),
    warning: write("warning"),
    error: write("error"),
  };
  return { clock, log, lines, cache: memoryStore(clock).for("auth") };
}

/** A session of somebody who may have logged in. */
export function client(how: { network?: string; user?: string; sendAs?: readonly string[] } = {}): Session {
  const { network = "192.0.2.0/24", user, sendAs = [] } = how;
  const plain = session({ role: "submission" });
  return {
    ...plain,
    remote: { ...plain.remote, network },
    user: user === undefined ? undefined : { name: user, sendAs },
  };
}

/** Runs a test in a directory of its own. */
export async function inDirectory(test: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "postrider-auth-" });
  try {
    await test(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** A signal that never aborts. */
export const patient = new AbortController().signal;
