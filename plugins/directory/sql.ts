/** Looking addresses up in an SQLite database, in a thread of its own: a query holds up nothing else. */
import { type Host, path, z } from "../../server/plugin.ts";
import { addressOf, patience, type Source } from "./directory.ts";
import { assertRoomForWorker } from "../worker_room.ts";

/** What the thread is asked. `open`: whether it can be asked at all. `looks`: first whether another file has taken the place. */
export type Question =
  & { readonly id: number; readonly looks: boolean }
  & ({ readonly kind: "open" } | {
    readonly kind: "rows";
    readonly values: Readonly<Record<string, string>>;
  });

/** What it says: the first column of each row. */
export type Answer =
  | { readonly id: number; readonly kind: "rows"; readonly rows: readonly (string | null)[] }
  | { readonly id: number; readonly kind: "failed"; readonly error: string };

/** What it needs to begin. */
export interface Opening {
  readonly database: string;
  readonly query: string;
  readonly most: number;
}

/** The parameters of a query, outside of its texts, quoted names and comments. */
function parametersIn(query: string): string[] {
  const others = /'[^']*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|\/\*.*?(?:\*\/|$)/gs;
  return query.replaceAll(others, " ").match(/[:@$]\w+|\?\d*/g) ?? [];
}

/** A query that is about an address. */
export const addressQuery = z.string().superRefine((text, context) => {
  const problem = (message: string) => context.addIssue({ code: "custom", message });
  const given = parametersIn(text);
  const strange = given.find((one) => !/^[:@$](?:address|local|domain)$/.test(one));
  // SQLite takes one that nobody gives as NULL, so that nobody would exist.
  if (strange !== undefined) problem(`has the parameter ${strange}: it can be :address, :local or :domain`);
  else if (!given.some((one) => /address|local/.test(one))) {
    problem("asks about no address: use :address, or :local and :domain");
  }
});

/** The option `sql`, whose query is about an address. */
export const sqlOption = z.object({
  database: path().describe("The SQLite database's file; it is only read"),
  query: addressQuery.describe(
    "One SELECT with the parameters `:address`, `:local` and `:domain`; they are lower case",
  ),
  timeout: patience,
});

/** The same, where what is looked up is no address. */
export type SqlHow = z.output<typeof sqlOption>;

/** Rows of one answer; what has more is a mistake, or needs another server. */
const mostRows = 100_000;

/**
 * Opens the database.
 *
 * @throws {Error} when it isn't there, or the query can't be asked.
 */
export async function openSql({ database, query, timeout }: SqlHow, { clock }: Pick<Host, "clock">): Promise<
  Source & { all(values: Readonly<Record<string, string>>): Promise<readonly (string | null)[]> }
> {
  const thread = new Thread({ database, query, most: mostRows }, clock);
  const named = (error: unknown) => new Error(`sql: ${database}: ${(error as Error).message}`);
  const over = new AbortController();
  const late = clock.sleep(timeout, over.signal).then(() => thread.restart(), () => {});
  try {
    await thread.ask({ kind: "open" });
  } catch (error) {
    thread.close();
    throw named(error);
  } finally {
    over.abort();
    await late;
  }
  const all = (values: Readonly<Record<string, string>>) =>
    thread.ask({ kind: "rows", values }).catch((error) => Promise.reject(named(error)));
  return {
    about: `sql: ${database}`,
    identity: `sql ${database} ${query}`,
    timeout,
    all,
    look: async (name, signal) => {
      // A query that takes too long goes on in its thread: only the thread's end ends it.
      const restart = () => thread.restart();
      signal.addEventListener("abort", restart, { once: true });
      try {
        const rows = await all({ address: addressOf(name), ...name });
        return rows.length === 0 ? undefined : rows.map((value) => value ?? "");
      } finally {
        signal.removeEventListener("abort", restart);
      }
    },
    close: () => thread.close(),
  };
}

type Asked = Question extends infer Q ? Q extends Question ? Omit<Q, "id" | "looks"> : never : never;

/** How often it is looked whether another file has taken the database's place, in milliseconds. */
const interval = 1000;

/** The thread, started when it is first needed. */
class Thread {
  readonly #opening: Opening;
  readonly #clock: Pick<Host["clock"], "now">;
  #looked: number | undefined;
  #worker: Worker | undefined;
  #last = 0;
  readonly #asked = new Map<number, PromiseWithResolvers<readonly (string | null)[]>>();

  constructor(opening: Opening, clock: Pick<Host["clock"], "now">) {
    this.#opening = opening;
    this.#clock = clock;
  }

  ask(question: Asked): Promise<readonly (string | null)[]> {
    const worker = this.#running();
    const id = ++this.#last;
    const answer = Promise.withResolvers<readonly (string | null)[]>();
    this.#asked.set(id, answer);
    const age = this.#looked === undefined ? interval : this.#clock.now() - this.#looked;
    const looks = age < 0 || age >= interval;
    if (looks) this.#looked = this.#clock.now();
    worker.postMessage({ id, looks, ...question });
    return answer.promise;
  }

  /** Ends what is under way; the next question starts anew. */
  restart(why = "the query took too long"): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const { reject } of asked) reject(new Error(why));
  }

  close(): void {
    this.restart("the database was closed");
  }

  #running(): Worker {
    if (this.#worker) return this.#worker;
    assertRoomForWorker();
    const worker = new Worker(new URL("./sql_worker.ts", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
      const asked = this.#asked.get(data.id);
      this.#asked.delete(data.id);
      if (data.kind === "rows") asked?.resolve(data.rows);
      else asked?.reject(new Error(data.error));
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault(); // else it ends the process
      if (this.#worker === worker) this.restart(`its thread failed: ${event.message}`);
    });
    worker.postMessage(this.#opening);
    return this.#worker = worker;
  }
}
