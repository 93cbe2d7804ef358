/**
 * What it takes to open a listener, and what to tell an operator when it fails.
 */

/**
 * One entry of `listen:`, resolved. Without `address`: all interfaces. A Unix socket (`path`) has no TLS. `systemd`: the sockets of this
 * name that systemd has opened.
 */
export type Listener =
  & {
    readonly role: "mx" | "submission";
    readonly protocol: "smtp" | "lmtp";
    readonly tls: "starttls" | "implicit" | "none";
  }
  & (
    | { readonly port: number; readonly address?: string | undefined }
    | { readonly path: string }
    | { readonly systemd: string }
  );

/** A listener can't be opened: `message` says which, why, and what to do. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** A socket that a server left behind when it was killed is in the way of the next one. */
export async function removeStale(path: string): Promise<void> {
  const found = await Deno.lstat(path).catch(() => undefined);
  if (!found) return;
  if (!found.isSocket) {
    throw new ListenError(
      `${path} is there and no socket: remove it, or choose another \`path\` in \`listen:\`.`,
    );
  }
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch {
    return await Deno.remove(path);
  }
  throw new ListenError(
    `${path} is in use: another server listens there. Stop it, or choose another \`path\`.`,
  );
}

/** Runs `open`, and explains why it failed. */
export function opening<T>(listener: Listener, open: () => T): T {
  try {
    const opened = open();
    return opened instanceof Promise
      ? opened.catch((error) => {
        throw explained(error, listener);
      }) as T
      : opened;
  } catch (error) {
    throw explained(error, listener);
  }
}

/** What an operator calls this listener. */
export function name(listener: Listener): string {
  if ("path" in listener) return `the socket ${listener.path}`;
  if ("systemd" in listener) return `systemd's socket "${listener.systemd}"`;
  return `port ${listener.port} on ${listener.address ?? "all interfaces"}`;
}

/** Whether the system has no IPv6 at all. */
export function isWithoutIpv6(error: unknown): boolean {
  return ["EAFNOSUPPORT", "EADDRNOTAVAIL", "EINVAL"].includes((error as { code?: string }).code ?? "");
}

/** Says which listener could not be opened, why, and what to do. */
export function explained(error: unknown, listener: Listener): ListenError {
  const { code, message } = error as { code?: string; message: string };
  const what = name(listener);
  const say = (text: string) => new ListenError(text, { cause: error });
  if (code === "EADDRINUSE") {
    return say(`${what} is taken: another program listens there. Stop it, or change \`listen:\`.`);
  }
  if (code === "EACCES" || code === "EPERM") {
    return say(
      "path" in listener
        ? `${what} may not be made by this user: make its folder writable, or choose another \`path\`.`
        : `${what} may not be opened by this user: start as root with \`user:\` set, or choose a port above 1023.`,
    );
  }
  if (code === "EADDRNOTAVAIL" || code === "EINVAL" && "address" in listener) {
    return say(
      `${what} can't be opened: this machine has no such address. Correct \`address\` in \`listen:\`.`,
    );
  }
  if (code === "ENOENT") return say(`${what} can't be made: its folder does not exist.`);
  return say(`${what} can't be opened: ${message}`);
}
