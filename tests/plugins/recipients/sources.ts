/** Back ends for tests: a database file, a web service on loopback. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { DatabaseSync } from "node:sqlite";

/** Writes a database anew, as who replaces it does: into another file, moved into place. */
export async function writeDatabase(file: string, ...statements: string[]): Promise<void> {
  const database = new DatabaseSync(`${file}.new`);
  for (const statement of statements) database.exec(statement);
  database.close();
  await Deno.rename(`${file}.new`, file);
}

/** A web service that notes what it is asked. */
export interface Service extends AsyncDisposable {
  readonly url: string;
  readonly asked: { readonly url: string; readonly headers: Headers }[];
  /** Of the next answers. */
  answer: (path: string) => Response;
  /** From then on it cuts each connection; its port stays its own, for another test might get it. */
  goDown(): void;
}

/** Starts one. */
export async function serve(answer: Service["answer"]): Promise<Service> {
  const asked: { url: string; headers: Headers }[] = [];
  let isDown = false;
  const server = createServer(async (request, reply) => {
    if (isDown) return request.socket.destroy();
    const url = `http://${request.headers.host}${request.url}`;
    asked.push({ url, headers: new Headers(request.headers as Record<string, string>) });
    const said = service.answer(new URL(url).pathname);
    reply.writeHead(said.status, Object.fromEntries(said.headers));
    reply.end(new Uint8Array(await said.arrayBuffer()));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const service: Service = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    answer,
    goDown() {
      isDown = true;
      server.closeAllConnections();
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return service;
}
