/**
 * Accept loops: they hand on each connection, and go on whatever happens to one of them or to the descriptors.
 */
import { createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import type { Clock } from "../clock.ts";

/** A listening socket. */
export interface Accepting {
  /** As the system tells it; of a Unix socket the path, and port 0. */
  readonly address: string;
  readonly port: number;
  /** Closes the listening socket; accepted connections go on. */
  stop(): void;
}

/** What an accept loop needs. */
export interface AcceptOptions {
  readonly clock: Clock;
  /** Accepting failed and will be tried again: descriptors or memory are exhausted. */
  failed(error: Error): void;
}

/** How long to wait when accepting fails: what is exhausted comes back when some session ends. */
const pauseMs = 100;
/** How often a `node:net` listener is woken. */
const wakeMs = 1000;

/**
 * Accepts on a `Deno.Listener`. Not `for await`, which ends at the first client that resets before it is accepted.
 *
 * @param arrived Takes the connection; must not throw.
 */
export function acceptDeno(
  listener: Deno.Listener,
  arrived: (conn: Deno.Conn) => void,
  { clock, failed }: AcceptOptions,
): Accepting {
  const stopped = new AbortController();
  (async () => {
    while (!stopped.signal.aborted) {
      let conn: Deno.Conn;
      try {
        conn = await listener.accept();
      } catch (error) {
        if (stopped.signal.aborted) return;
        if (isClientGone(error)) continue; // each takes one connection off the queue: no need to pause
        failed(error as Error);
        await clock.sleep(pauseMs, stopped.signal).catch(() => {});
        continue;
      }
      arrived(conn);
    }
  })();
  const address = listener.addr;
  return {
    address: address.transport === "unix" ? address.path : (address as Deno.NetAddr).hostname,
    port: address.transport === "unix" ? 0 : (address as Deno.NetAddr).port,
    stop() {
      stopped.abort();
      listener.close();
    },
  };
}

function isClientGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotConnected || error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted;
}

/**
 * Listens with `node:net`, whose sockets TLS can take over.
 *
 * @param arrived Takes the socket, which is paused; must not throw.
 * @param where An address to open, or a socket that is open.
 * @throws {Error} with the system's `code` when the address can't be listened on.
 */
export async function acceptNode(
  where: { readonly host: string; readonly port: number } | { readonly fd: number },
  arrived: (socket: Socket) => void,
  { clock, failed }: AcceptOptions,
): Promise<Accepting> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, arrived);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ ...where }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", failed);
  let cancel = clock.after(wakeMs, function again() {
    wake(server);
    cancel = clock.after(wakeMs, again);
  });
  const { address, port } = whereFrom(server);
  return {
    address,
    port,
    stop() {
      cancel();
      server.close();
    },
  };
}

/** @throws {Error} where the socket is not one of TCP: a Unix socket can be listened on, and its clients have no address then. */
function whereFrom(server: Server): AddressInfo {
  const found = server.address();
  if (typeof found === "object" && found !== null) return found;
  server.close();
  throw new Error("it is no TCP socket");
}

/**
 * A `node:net` server that meets EMFILE is never told of a connection again, and says nothing. Asking its handle to
 * listen once more does nothing to a socket that listens, but makes the runtime look at it. The handle is not
 * documented; a test with exhausted descriptors holds this. (Closing it and listening again would need the right to
 * open the port, which is gone once privileges are dropped, and would reset whoever waits.)
 */
function wake(server: Server): void {
  const { _handle: handle } = server as Server & { _handle?: { listen?(backlog: number): number } | null };
  handle?.listen?.(511);
}
