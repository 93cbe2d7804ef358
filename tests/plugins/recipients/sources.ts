/** Back ends for tests: a database file, a web service on loopback. */
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
  answer: (path: string) => Response | Promise<Response>;
}

/** Starts one. */
export function serve(answer: Service["answer"]): Service {
  const asked: { url: string; headers: Headers }[] = [];
  const now = { answer };
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request): Promise<Response> => {
      asked.push({ url: request.url, headers: new Headers(request.headers) });
      return Promise.resolve(now.answer(new URL(request.url).pathname));
    },
  );
  return Object.assign(now, {
    url: `http://127.0.0.1:${server.addr.port}`,
    asked,
    [Symbol.asyncDispose]: () => server.shutdown(),
  });
}
