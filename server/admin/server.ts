/** What an operator watches: `/metrics` for Prometheus, `/healthz` for whoever restarts what is ill. Plain HTTP, without a password. */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";

/** The port can't be had: `message` says why, and what to do. */
export class AdminFailed extends Error {
  override readonly name = "AdminFailed";
}

/** What is told. */
export interface AdminOptions {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
  readonly log: Log;
  readonly clock: Pick<Clock, "sleep">;
  readonly metrics: { readonly contentType: string; text(): Promise<string> };
  readonly health: { reasons(): Promise<readonly string[]> };
}

/** A server of the runtime's. */
interface Opened {
  readonly server: Deno.HttpServer<Deno.NetAddr>;
  readonly end: () => void;
}

/** Before the port is opened again, where the runtime's server has ended by itself; milliseconds. */
const pause = 1000;

/** Answers those who watch. */
export class AdminServer {
  readonly #options: AdminOptions;
  /** The actual one, also where 0 was asked for. */
  readonly port: number;
  readonly #closing = new AbortController();
  readonly #ended: Promise<void>;

  /** @throws {AdminFailed} when it can't listen there. */
  constructor(options: AdminOptions) {
    this.#options = options;
    const { address, port } = options;
    try {
      const first = this.#serve(port);
      this.port = first.server.addr.port;
      this.#ended = this.#keepOpen(first);
    } catch (error) {
      const why = error instanceof Deno.errors.AddrInUse
        ? "another program listens there"
        : (error as Error).message;
      throw new AdminFailed(
        `Port ${port} on ${address}, of \`admin:\`, can't be opened: ${why}. Choose another one.`,
        { cause: error },
      );
    }
  }

  /** Answers nobody any more, whoever waits. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#ended;
  }

  #serve(port: number): Opened {
    const { address, log } = this.#options;
    const over = new AbortController();
    const server = Deno.serve({
      hostname: address,
      port,
      signal: over.signal,
      onListen: () => {}, // it would write to standard output
      onError: (error) => {
        log.error("a question of a monitor failed", { error: String(error) });
        return answer(500, "text/plain; charset=utf-8", "This could not be told: the log says why.\n");
      },
    }, (request) => this.#answer(request));
    return { server, end: () => over.abort() };
  }

  /** The runtime's server ends for good where it can't accept a connection: without a descriptor left, say. */
  async #keepOpen(opened: Opened): Promise<void> {
    const { log, clock } = this.#options;
    const { signal } = this.#closing;
    for (let open: typeof opened | undefined = opened;;) {
      if (open) {
        const { server, end } = open;
        signal.addEventListener("abort", end, { once: true });
        if (signal.aborted) end();
        const why = await server.finished.then(() => "it ended", String);
        signal.removeEventListener("abort", end);
        if (signal.aborted) return;
        log.error("monitors are not answered, until the port is opened again", { why });
      }
      await clock.sleep(pause, signal).catch(() => {});
      if (signal.aborted) return;
      try {
        open = this.#serve(this.port);
        log.info("monitors are answered again", { port: this.port });
      } catch { // as long as there is no descriptor
        open = undefined;
      }
    }
  }

  async #answer({ url, method }: Request): Promise<Response> {
    const { pathname } = new URL(url);
    if (pathname !== "/metrics" && pathname !== "/healthz") {
      return answer(404, "text/plain; charset=utf-8", "There are /metrics and /healthz.\n");
    }
    if (method !== "GET" && method !== "HEAD") {
      return answer(405, "text/plain; charset=utf-8", "Only to be read.\n", { allow: "GET, HEAD" });
    }
    if (pathname === "/metrics") {
      const { contentType, text } = this.#options.metrics;
      return answer(200, contentType, await text.call(this.#options.metrics));
    }
    const reasons = await this.#options.health.reasons();
    const told = reasons.length === 0 ? { status: "ok" } : { status: "failing", reasons };
    return answer(reasons.length === 0 ? 200 : 503, "application/json", `${JSON.stringify(told)}\n`);
  }
}

function answer(status: number, type: string, body: string, more: Record<string, string> = {}): Response {
  return new Response(body, {
    status,
    headers: { "content-type": type, "cache-control": "no-store", ...more },
  });
}
