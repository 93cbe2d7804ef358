/** An HTTPS server on 127.0.0.1, with any certificate: also one that the runtime's own would refuse. */
import type { Buffer } from "node:buffer";
import { createServer } from "node:https";
import { Readable } from "node:stream";
import type { ReadableStream as NodeStream } from "node:stream/web";

/** What was asked. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: Uint8Array;
}

/** A running one. */
export interface HttpsServer extends AsyncDisposable {
  readonly port: number;
}

/** Starts one with the key pair of these files. */
export async function startHttps(
  { cert, key, hostname = "127.0.0.1" }: {
    readonly cert: string;
    readonly key: string;
    readonly hostname?: string;
  },
  answer: (asked: Asked) => Response | Promise<Response>,
): Promise<HttpsServer> {
  const pair = { cert: Deno.readTextFileSync(cert), key: Deno.readTextFileSync(key) };
  const server = createServer(pair, (request, reply) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", async () => {
      const response = await answer({
        method: request.method ?? "",
        path: request.url ?? "",
        headers: request.headers as Record<string, string>,
        body: new Uint8Array(chunks.flatMap((chunk) => [...chunk])),
      });
      reply.writeHead(response.status, Object.fromEntries(response.headers));
      reply.on("error", () => {});
      if (response.body === null) reply.end();
      else Readable.fromWeb(response.body as NodeStream).on("error", () => {}).pipe(reply);
    });
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, hostname, () => resolve()));
  return {
    port: (server.address() as { port: number }).port,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
