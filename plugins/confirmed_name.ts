/** What back ends are told a client is called. Shared by the plugins that ask one. */
import type { Dns } from "../server/plugin.ts";

/** The client's name, where that has the client's address; trouble with DNS is none of the message's. */
export async function confirmedName(
  dns: Dns,
  address: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    const [name] = await dns.ptr(address, signal);
    return name !== undefined && (await dns.a(name, signal)).includes(address) ? name : undefined;
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}
