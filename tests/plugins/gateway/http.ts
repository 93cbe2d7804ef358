/** A receiver that answers as the test says, on a port of its own. */

/** A request, read to its end. */
export interface Got {
  readonly path: string;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** What it answers. */
export type Answering = (got: Got, count: number) => Response | Promise<Response>;

/** Made by {@linkcode receiver}. */
export interface Receiving extends AsyncDisposable {
  readonly url: string;
  /** In order. */
  readonly got: readonly Got[];
  answer: Answering;
}

/** Listens; by default it takes everything. */
export function receiver(answer: Answering = () => new Response(null, { status: 204 })): Receiving {
  const got: Got[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    const body = new Uint8Array(await request.arrayBuffer());
    const one = { path: new URL(request.url).pathname, headers: request.headers, body };
    got.push(one);
    return await receiving.answer(one, got.length);
  });
  const receiving: Receiving = {
    url: `http://127.0.0.1:${server.addr.port}/mail?token=hidden`,
    got,
    answer,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
  return receiving;
}

/** The body as JSON. */
export const json = ({ body }: Got): Record<string, unknown> => JSON.parse(new TextDecoder().decode(body));
