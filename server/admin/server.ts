/** What an operator watches: `/metrics` for Prometheus, `/healthz` for whoever restarts what is ill. Plain HTTP, without a password. */
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
  readonly metrics: { readonly contentType: string; text(): Promise<string> };
  readonly health: { reasons(): Promise<readonly string[]> };
}

/** Answers those who watch. */
export class AdminServer {
  readonly #options: AdminOptions;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #closing = new AbortController();

  /** @throws {AdminFailed} when it can't listen there. */
  constructor(options: AdminOptions) {
    this.#options = options;
    const { address, port, log } = options;
    try {
      this.#server = Deno.serve({
        hostname: address,
        port,
        signal: this.#closing.signal,
        onListen: () => {}, // it would write to standard output
        onError: (error) => {
          log.error("a question of a monitor failed", { error: String(error) });
          return answer(500, "text/plain; charset=utf-8", "This could not be told: the log says why.\n");
        },
      }, (request) => this.#answer(request));
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

  /** The actual one, also where 0 was asked for. */
  get port(): number {
    return this.#server.addr.port;
  }

  /** Answers nobody any more, whoever waits. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#server.finished;
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
