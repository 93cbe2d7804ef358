/** Ports for programs that can't be told to take any. */

/** A port that nothing listens on, on any of these addresses; not one that the system gives to others by itself. */
export function freePort(...addresses: readonly string[]): number {
  for (;;) {
    const port = 20_000 + crypto.getRandomValues(new Uint16Array(1))[0]! % 12_000;
    if ((addresses.length > 0 ? addresses : ["127.0.0.1"]).every((address) => isFree(address, port))) {
      return port;
    }
  }
}

function isFree(hostname: string, port: number): boolean {
  try {
    Deno.listen({ hostname, port }).close();
    return true;
  } catch {
    return false;
  }
}

/** Resolves when a program listens there. @throws {Error} when it ends instead. */
export async function untilListening(child: Deno.ChildProcess, name: string, port: number): Promise<void> {
  let hasEnded = false;
  void child.status.then(() => hasEnded = true);
  for (;;) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch (error) {
      if (hasEnded || !(error instanceof Deno.errors.ConnectionRefused)) {
        throw new Error(`${name} doesn't start`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20)); // it has no way to tell
    }
  }
}

/** Ends a program and all it has started, which is a group of its own. */
export async function end(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGTERM");
  } catch {
    // It has ended.
  }
  await child.status;
}

/**
 * Whether this process, itself, listens on a port. Connecting would not tell: a port given up is soon another's, as tests run
 * beside each other.
 */
export async function isListening(pid: number, port: number): Promise<boolean> {
  const sockets = new Set<string>();
  for await (const { name } of Deno.readDir(`/proc/${pid}/fd`)) {
    try {
      sockets.add(await Deno.readLink(`/proc/${pid}/fd/${name}`));
    } catch {
      // Closed since.
    }
  }
  const tables = await Promise.all(
    ["tcp", "tcp6"].map((name) => Deno.readTextFile(`/proc/${pid}/net/${name}`)),
  );
  return tables.join("").split("\n").some((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/ +/);
    const listens = state === "0A" && local?.endsWith(`:${port.toString(16).toUpperCase().padStart(4, "0")}`);
    return listens && sockets.has(`socket:[${inode}]`);
  });
}
