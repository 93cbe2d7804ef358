/** The HTTP server of `http-submit`: its port, kept open. */
import type { Host } from "../../server/plugin.ts";

/** Where it listens. */
export interface ListenerOptions {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** Who answers a request. */
export type Answer = (request: Request, ip: string) => Promise<Response>;

/** While a listener of the generation before lets go of the port, milliseconds. */
const [patience, step] = [5000, 20];
/** Before it is opened again, where it has ended by itself; milliseconds. */
const pause = 1000;

/** A port that stays open. */
export class Listener {
  readonly #over = new AbortController();
  readonly #ended: Promise<void>;
  #server: Deno.HttpServer<Deno.NetAddr>;

  private constructor(
    server: Deno.HttpServer<Deno.NetAddr>,
    again: () => Promise<Deno.HttpServer<Deno.NetAddr>>,
    host: Pick<Host, "clock" | "log">,
  ) {
    this.#server = server;
    this.#ended = this.#keepOpen(again, host);
  }

  /** @throws {Error} in an operator's words. */
  static async open(
    options: ListenerOptions,
    host: Pick<Host, "clock" | "log">,
    answer: Answer,
  ): Promise<Listener> {
    const server = await serve(options, host, answer);
    const { port } = server.addr;
    return new Listener(server, () => serve({ ...options, port }, host, answer), host);
  }

  get addr(): Deno.NetAddr {
    return this.#server.addr;
  }

  /** Takes no more connections; resolves when the last one has gone. */
  async shutdown(): Promise<void> {
    this.#over.abort();
    await this.#server.shutdown().catch(() => {}); // it has ended by itself
    await this.#ended;
  }

  /** The runtime's server ends for good where it can't accept a connection: without a descriptor left, say. */
  async #keepOpen(
    again: () => Promise<Deno.HttpServer<Deno.NetAddr>>,
    { clock, log }: Pick<Host, "clock" | "log">,
  ): Promise<void> {
    const { signal } = this.#over;
    for (;;) {
      const why = await this.#server.finished.then(() => "it ended", (error: unknown) => String(error));
      if (signal.aborted) return;
      log.error("mail can't be taken over HTTP, until the port is opened again", { why });
      for (let isOpen = false; !isOpen;) {
        await clock.sleep(pause, signal).catch(() => {});
        if (signal.aborted) return;
        isOpen = await again().then((server) => (this.#server = server, true), () => false);
      }
      if (signal.aborted) return void this.#server.shutdown();
      log.info("taking mail over HTTP again", { port: this.addr.port });
    }
  }
}

async function serve(
  { address, port, cert, key }: ListenerOptions,
  { clock }: Pick<Host, "clock">,
  answer: Answer,
): Promise<Deno.HttpServer<Deno.NetAddr>> {
  const tls = cert === undefined
    ? {}
    : { cert: await Deno.readTextFile(cert), key: await Deno.readTextFile(key!) };
  for (let waited = 0;; waited += step) {
    try {
      return Deno.serve(
        {
          hostname: address,
          port,
          ...tls,
          onListen() {},
          onError: () => new Response(null, { status: 500 }),
        },
        (request, { remoteAddr }) => answer(request, "hostname" in remoteAddr ? remoteAddr.hostname : ""),
      ) as Deno.HttpServer<Deno.NetAddr>;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse) || waited >= patience) {
        throw new Error(
          `can't listen on ${address}, port ${port}: ${error instanceof Error ? error.message : error}`,
        );
      }
      await clock.sleep(step);
    }
  }
}
