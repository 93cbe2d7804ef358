/** Sets up one plugin without a server: its handlers are called directly, its host is a fake. */
import { systemClock } from "../../server/clock.ts";
import { parsingIn } from "../../server/options.ts";
import type {
  Address,
  DataCall,
  Deliver,
  Dispose,
  Hooks,
  Host,
  Json,
  Message,
  Plugin,
  Recipient,
  RelayRoute,
  Session,
  Target,
  Transaction,
  Transport,
  z,
} from "../../server/plugin.ts";

/** An address as the server's parser would give it; `text` must be well formed, `""` is the null sender. */
export function address(text: string): Address {
  const at = text.lastIndexOf("@");
  const quoted = at < 0 ? text : text.slice(0, at);
  const local = quoted.startsWith('"') ? quoted.slice(1, -1).replace(/\\(.)/gs, "$1") : quoted;
  const plus = local.indexOf("+");
  return {
    address: text,
    local,
    user: (plus < 0 ? local : local.slice(0, plus)).toLowerCase().normalize("NFC"),
    tag: plus < 0 ? undefined : local.slice(plus + 1),
    domain: at < 0 ? "" : text.slice(at + 1).toLowerCase(),
    toString: () => text,
  };
}

/** A recipient of RCPT. */
export function recipient(text: string): Recipient {
  return { ...address(text), id: text, params: new Map(), targets: [], prependHeader() {} };
}

/** A recipient of a delivery. */
export function target(text: string, sender = "sender@example.net", original = text): Target {
  return { ...address(text), sender, original };
}

/** A client's connection. */
export function session(how: { from?: string; user?: string; role?: Session["role"] } = {}): Session {
  const remote = how.from ?? "192.0.2.1";
  return {
    id: "s1",
    role: how.role ?? "mx",
    protocol: "smtp",
    remote: { address: remote, network: `${remote}/24`, port: 4711 },
    helo: "client.example.net",
    trusted: false,
    tls: undefined,
    user: how.user === undefined ? undefined : { name: how.user, sendAs: [] },
  };
}

/** A transaction with nothing but a sender. */
export const transaction: Transaction = {
  id: "t1",
  sender: address("sender@example.net"),
  recipients: [],
  params: new Map(),
};

/** What a handler is told about its own call. */
export function call(
  signal: AbortSignal = new AbortController().signal,
): DataCall & { readonly attempt: number } {
  return { signal, dryRun: false, attempt: 1, progress() {} };
}

/** A message of these bytes (text: latin-1), streamed in pieces of `piece` octets. */
export function message(content: string | Uint8Array, piece = 16 * 1024): Message {
  const bytes = typeof content === "string"
    ? Uint8Array.from(content, (letter) => letter.charCodeAt(0))
    : new Uint8Array(content);
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, 256 * 1024));
  const fields = text.split("\r\n\r\n", 1)[0]!.split(/\r\n(?![ \t])/).flatMap((line) => {
    const found = /^([!-9;-~]+)[ \t]*:(.*)$/s.exec(line);
    return found ? [[found[1]!, found[2]!.replace(/\r\n/g, "").trim()] as const] : [];
  });
  const all = (name: string) =>
    fields.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  return {
    id: "m1",
    size: bytes.length,
    headers: { all, get: (name) => all(name)[0], [Symbol.iterator]: () => fields[Symbol.iterator]() },
    bytes(max = 1024 * 1024) {
      return bytes.length > max ? Promise.reject(new RangeError("too large")) : Promise.resolve(bytes);
    },
    stream() {
      let at = 0;
      return new ReadableStream({
        pull(controller) {
          if (at >= bytes.length) return controller.close();
          controller.enqueue(bytes.slice(at, at += piece));
        },
      }, { highWaterMark: 0 });
    },
    async *lines() {
      for (let at = 0; at < bytes.length;) {
        const end = bytes.indexOf(10, at) + 1 || bytes.length;
        yield await Promise.resolve(bytes.slice(at, end));
        at = end;
      }
    },
  };
}

/** A line of the log. */
export interface Line {
  readonly level: "debug" | "info" | "warning" | "error";
  readonly text: string;
  readonly fields: Record<string, Json>;
}

/** A plugin that was set up. */
export interface Rig {
  readonly handlers: Partial<Hooks>;
  readonly owned: readonly string[];
  readonly transports: ReadonlyMap<string, { deliver: Deliver; inline: boolean; batch: number }>;
  readonly relays: ReadonlyMap<string, RelayRoute>;
  readonly log: readonly Line[];
  /** Which rules decided (`because`), in order; what handlers return comes without them. */
  readonly rules: string[];
  /** The wall clock, milliseconds; tests set it. */
  time: number;
  readonly dispose: void | Dispose;
}

const unused = (what: string) => () => {
  throw new Error(`the harness has no ${what}`);
};

/**
 * Validates the options as the loader does, relative to `folder`, and calls `setup`.
 *
 * @throws what validation or setup throws.
 */
export async function setUp<O extends z.ZodType>(
  plugin: Plugin<O>,
  options: unknown,
  folder = "/",
): Promise<Rig> {
  const handlers: Partial<Hooks> = {};
  const owned: string[] = [];
  const log: Line[] = [];
  const transports = new Map<string, { deliver: Deliver; inline: boolean; batch: number }>();
  const write = (level: Line["level"]) => (text: string, fields: Record<string, Json> = {}) =>
    void log.push({ level, text, fields });
  const store = {
    get: unused("store"),
    set: unused("store"),
    getOrSet: unused("store"),
    increment: unused("store"),
    delete: unused("store"),
  };
  const relays = new Map<string, RelayRoute>();
  const rules: string[] = [];
  const plain = (said: unknown): unknown => {
    if (said instanceof Promise) return said.then(plain);
    if (typeof said !== "object" || said === null || !("rule" in said)) return said;
    const { rule, ...verdict } = said;
    rules.push(String(rule));
    return verdict;
  };
  const rig = { handlers, owned, transports, relays, log, rules, time: 1_700_000_000_000 };
  const host: Host = {
    name: plugin.name,
    hostname: "mx.example.org",
    observed: false,
    queued: false,
    owns: (domains) => void owned.push(...domains),
    clock: { now: () => rig.time, sleep: (ms, signal) => systemClock.sleep(ms, signal) },
    log: { debug: write("debug"), info: write("info"), warning: write("warning"), error: write("error") },
    store,
    cache: store,
    dns: {
      a: unused("DNS"),
      txt: unused("DNS"),
      mx: unused("DNS"),
      ptr: unused("DNS"),
      query: unused("DNS"),
    },
    get state(): string {
      throw new Error("the harness has no state directory");
    },
    transport(name, deliver, how = {}): Transport {
      transports.set(name, { deliver, inline: how.inline ?? false, batch: how.batch ?? 1 });
      return { transport: name };
    },
    relay(name, route): Transport {
      relays.set(name, route);
      return { transport: name };
    },
    proxy: unused("proxies"),
    submit: unused("spool"),
    verify: unused("next hop"),
    queue: { retry: unused("queue") },
    history: { after: unused("history") },
    runs() {},
    offers() {},
    notes: unused("notes"),
    provides: unused("facts"),
    needs: unused("facts"),
  };
  const parsed = parsingIn(folder, () => plugin.options!.parse(options)).value;
  const dispose = await plugin.setup(
    (hook, handler) => {
      const asked = handler as (...all: unknown[]) => unknown;
      handlers[hook] = ((...all: unknown[]) => plain(asked(...all))) as typeof handler;
    },
    parsed,
    host,
  );
  return Object.assign(rig, { dispose });
}
