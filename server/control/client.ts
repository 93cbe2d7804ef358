/** The command's end of the control socket: a running server's queue. */
import type {
  Acted,
  Action,
  BulkChange,
  Changed,
  Count,
  FrozenQueue,
  ListedMessage,
  Overview,
  QueueControl,
  ShownMessage,
  Summary,
  SummaryBy,
  Way,
} from "./operations.ts";
import type { SummaryRow } from "./summary.ts";
import type { Tracked, TrackedMessage, TrackQuery } from "../tracking/steps.ts";
import { type Line, readLines, type Request, type TrackControl, writeAll } from "./protocol.ts";
import type { Freeze, FrozenFile } from "../spool/freeze.ts";
import { controlPath } from "./server.ts";

/** The server could not be asked, or said that something went wrong: `message` is a sentence. */
export class ControlRefused extends Error {
  override readonly name = "ControlRefused";
}

/**
 * Finds the server that runs with this state directory.
 *
 * @returns `"nobody"` where nobody answers.
 * @throws {ControlRefused} when somebody might, and this user may not ask.
 */
export async function findServer(state: string): Promise<QueueControl & TrackControl | "nobody"> {
  const path = controlPath(state);
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return new RemoteQueue(path);
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new ControlRefused(
        `You may not use ${path}: run this as root, or as the user the server runs as.`,
      );
    }
    return "nobody";
  }
}

/** A running server's queue. */
class RemoteQueue implements QueueControl, TrackControl {
  readonly server = "running";
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  overview(): Promise<Overview> {
    return this.#one({ do: "overview" });
  }

  list(where?: string): AsyncIterable<ListedMessage> {
    return this.#ask({ do: "list", where });
  }

  count(where: string, asOf: number): Promise<Count> {
    return this.#one({ do: "count", where, asOf });
  }

  async summary(by: SummaryBy, where?: string): Promise<Summary> {
    const [head, ...rows] = await Array.fromAsync(this.#ask<SummaryRow>({ do: "summary", by, where }));
    if (head === undefined) throw cutOff();
    return { ...head as unknown as Omit<Summary, "rows">, rows };
  }

  async show(id: string): Promise<ShownMessage | undefined> {
    const [shown] = await Array.fromAsync(this.#ask<ShownMessage>({ do: "show", id }));
    return shown;
  }

  async *content(id: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    for await (const text of this.#ask<string>({ do: "content", id })) yield Uint8Array.fromBase64(text);
  }

  act(action: Action, ids: readonly string[], reason?: string): Promise<readonly Acted[]> {
    const asked = { do: "act" as const, action, ids: [...ids], ...(reason !== undefined && { reason }) };
    return Array.fromAsync(this.#ask<Acted>(asked));
  }

  redirect(way: Way, ids: readonly string[]): Promise<readonly Acted[]> {
    return Array.fromAsync(this.#ask<Acted>({ do: "redirect", way, ids: [...ids] }));
  }

  change(what: BulkChange, where: string, asOf: number): Promise<Changed> {
    return this.#one({ do: "change", what, where, asOf });
  }

  async freeze(): Promise<FrozenQueue> {
    const conn = await Deno.connect({ transport: "unix", path: this.#path });
    const lines = readLines(conn);
    const next = async () => {
      const { value, done } = await lines.next();
      if (done === true) throw cutOff();
      const line = JSON.parse(value) as Line;
      if ("error" in line) throw new ControlRefused(line.error);
      return "item" in line ? line.item : undefined;
    };
    try {
      await writeAll(conn, `${JSON.stringify({ do: "freeze" } satisfies Request)}\n`);
      await next();
    } catch (error) {
      conn.close();
      throw error;
    }
    let released: Promise<Freeze["state"]> | undefined;
    const release = async () => {
      try {
        await writeAll(conn, "release\n");
        return await next() as Freeze["state"];
      } finally {
        conn.close();
      }
    };
    return {
      async cut() {
        await writeAll(conn, "cut\n");
        const files: FrozenFile[] = [];
        for (let item = await next(); item !== "cut"; item = await next()) files.push(item as FrozenFile);
        return files;
      },
      release: () => released ??= release(),
    };
  }

  retryAll(): Promise<number> {
    return this.#one({ do: "retryAll" });
  }

  async find(query: TrackQuery): Promise<Tracked> {
    const messages = new Map<string, TrackedMessage>();
    for await (const item of this.#ask<TrackedMessage | Omit<Tracked, "messages">>({ do: "track", query })) {
      if (!("steps" in item)) return { ...item, messages: [...messages.values()] };
      const { id, steps } = item;
      messages.set(id, { id, steps: [...messages.get(id)?.steps ?? [], ...steps] });
    }
    throw cutOff();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #one<T>(request: Request): Promise<T> {
    const [item] = await Array.fromAsync(this.#ask<T>(request));
    if (item === undefined) throw cutOff();
    return item;
  }

  /** The items, which the same program made on the other side of the socket. */
  async *#ask<T>(request: Request): AsyncGenerator<T> {
    using conn = await Deno.connect({ transport: "unix", path: this.#path });
    await writeAll(conn, `${JSON.stringify(request)}\n`);
    for await (const text of readLines(conn)) {
      const line = JSON.parse(text) as Line;
      if ("error" in line) throw new ControlRefused(line.error);
      if ("end" in line) return;
      yield line.item as T;
    }
    throw cutOff();
  }
}

function cutOff(): ControlRefused {
  return new ControlRefused("The server closed the connection before its answer was complete: try again.");
}
