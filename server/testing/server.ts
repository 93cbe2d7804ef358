/** The whole server in memory: the real chain of plugins, over channels without sockets, on a clock that stands still. */
import { bundled } from "../bundled.ts";
import { memoryChannel } from "../channel/memory.ts";
import { config } from "../config/config.ts";
import { formatProblem, type Problem, readValue, Source } from "../config/read.ts";
import type { HostServices } from "../host.ts";
import { type LoadedGeneration, loadGeneration } from "../load.ts";
import { Modules } from "../load/module.ts";
import type { Duration, Size } from "../options.ts";
import type { Api, Host, Plugin, Session, Store } from "../plugin.ts";
import { z } from "../plugin.ts";
import { Sessions, type Settings } from "../sessions.ts";
import { replies } from "../smtp/reply.ts";
import { BodyStore } from "../spool/body.ts";
import { MemoryDisk } from "../spool/memory_disk.ts";
import { memoryStore } from "../store.ts";
import { TestClient } from "./client.ts";
import { FakeClock } from "./clock.ts";
import { type FakeDns, fakeDns, type FakeName } from "./dns.ts";
import { countingIds } from "./ids.ts";
import { type MemoryLog, memoryLog } from "./log.ts";
import { type DeliveredMail, Mailboxes } from "./mailboxes.ts";
import { type ConnectOptions, converse, type Sent, type TestMail } from "./send.ts";

/** A plugin: what `definePlugin` gives, a function that makes one of the API, {@linkcode Mailboxes}, or a bundled one's name. */
export type UsedPlugin = Plugin | ((api: Api) => Plugin) | Mailboxes | string;

/** One plugin of a test server: alone, with its options, or as a whole entry. */
export type TestPlugin = UsedPlugin | readonly [use: UsedPlugin, options: unknown] | TestEntry;

/** An entry of `plugins:`, as it stands in a configuration. */
export interface TestEntry {
  /** The plugin. */
  readonly use: UsedPlugin;
  /** Its options, as an operator writes them: plain data, checked by its schema. */
  readonly with?: unknown;
  /** The instance's name. */
  readonly as?: string;
  /** That it may take for one answer; default `30s`. */
  readonly timeout?: Duration;
  /** What becomes of a call when the plugin fails; default `defer`. */
  readonly onError?: "defer" | "skip" | "reject";
  /** The roles it is asked on; default: the plugin's own. */
  readonly roles?: readonly Session["role"][];
  /** Asked, but what it says is only logged. */
  readonly observe?: boolean;
}

/** What a test server is made of; whatever isn't given is as in a configuration that doesn't say it. */
export interface TestServerOptions {
  /** In the order in which they are asked. */
  readonly plugins: readonly TestPlugin[];
  /** Default `mx.example.org`. */
  readonly hostname?: string;
  /** As in the configuration. */
  readonly limits?: {
    readonly message?: Size;
    readonly recipients?: number;
    readonly errors?: number;
    readonly refusedRecipients?: number;
    readonly hops?: number;
    readonly bareNewlines?: "normalize" | "reject";
  };
  /** As in the configuration. */
  readonly timeouts?: { readonly command?: Duration; readonly data?: Duration; readonly plugin?: Duration };
  /** As in the configuration. */
  readonly trustedNetworks?: readonly string[];
  /** What there is in the DNS. */
  readonly dns?: Readonly<Record<string, FakeName>>;
  /** The folder for plugins that ask for `host.state`; without it, asking throws. */
  readonly state?: string;
}

/** What a server holds at this moment; all zero when no client is there. */
export interface InUse {
  /** Connections. */
  readonly connections: number;
  /** Octets of messages in memory. */
  readonly octets: number;
  /** Files of messages. */
  readonly files: number;
  /** Timers that are set. */
  readonly timers: number;
}

/** What is set up of a server's options. */
const shape = z.strictObject({
  hostname: config.shape.hostname,
  limits: config.shape.limits,
  timeouts: config.shape.timeouts,
  trustedNetworks: config.shape.trustedNetworks,
  plugins: config.shape.plugins,
});

const bodies = "/bodies";

/**
 * A server for tests, as {@linkcode testServer} makes it.
 *
 * @example
 * ```ts
 * import { mailboxes, testServer } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 * await using server = await testServer({ plugins: [mailboxes(["example.org"])], timeouts: { command: "1m" } });
 * const client = server.connect();
 * await client.command("EHLO client.example");
 * await server.clock.advance("1m");
 * equal((await client.reply()).code, 421);
 * await client.closed;
 * ```
 */
export class TestServer implements AsyncDisposable {
  /** The server's clock: it moves when the test says so. */
  readonly clock: FakeClock = new FakeClock();
  /** Everything that was logged. */
  readonly log: MemoryLog = memoryLog();
  /** The DNS, which the test can change. */
  readonly dns: FakeDns;
  /** What {@linkcode mailboxes} have taken so far. */
  readonly delivered: readonly DeliveredMail[] = [];
  /** `none`: the disk is too full for new messages; `runs-out`: it can't be written any more (messages up to 256 KiB don't need it). */
  room: "enough" | "none" | "runs-out" = "enough";
  readonly #disk: MemoryDisk;
  readonly #options: TestServerOptions;
  readonly #services: HostServices;
  readonly #sessions: Sessions;
  readonly #bodies: BodyStore;
  readonly #draining = new AbortController();
  readonly #open = new Set<TestClient>();
  #generations = 0;

  private constructor(options: TestServerOptions, disk: MemoryDisk, store: BodyStore) {
    this.#options = options;
    this.#disk = disk;
    this.#bodies = store;
    this.dns = fakeDns(options.dns);
    disk.before = (operation) => {
      if (this.room === "runs-out" && (operation === "write" || operation === "openNew")) {
        throw new Error("No space left on device (os error 28)");
      }
    };
    this.#services = {
      clock: this.clock,
      log: this.log,
      store: memoryStore(this.clock),
      cache: memoryStore(this.clock),
      dns: this.dns,
      get state(): string {
        if (options.state !== undefined) return options.state;
        throw new Error("this server has no state directory: give testServer one by `state`");
      },
      submit: (mail) => this.submit(mail),
    };
    this.#sessions = new Sessions({
      clock: this.clock,
      log: this.log,
      ids: countingIds(),
      newBody: (id) => store.create(id),
      noRoom: () => this.room === "none" ? replies.noRoom : undefined,
      draining: this.#draining.signal,
    });
  }

  /** See {@linkcode testServer}. */
  static async open(options: TestServerOptions): Promise<TestServer> {
    const disk = new MemoryDisk();
    const server = new TestServer(options, disk, await BodyStore.open(bodies, { disk }));
    await server.reload(options.plugins);
    return server;
  }

  /** The durable store of a plugin's instance, by its name. */
  store(name: string): Store {
    return this.#services.store.for(name);
  }

  /** A new generation of plugins: new sessions get it, those that run keep theirs. @throws {Error} as `testServer` does. */
  async reload(plugins: readonly TestPlugin[]): Promise<void> {
    const { settings, generation } = await this.#load(plugins);
    this.#sessions.use(settings, generation);
  }

  /** Connects a client; its greeting is the first reply. */
  connect(how: ConnectOptions = {}): TestClient {
    const { role = "mx", protocol = "smtp", auth = role === "submission", allowPlain = false } = how;
    const { client, server } = memoryChannel({
      remote: { address: how.ip ?? "192.0.2.1", port: how.port ?? 40_000 },
      local: { port: protocol === "lmtp" ? 24 : role === "mx" ? 25 : 587 },
      tls: how.tls ?? "starttls",
    });
    const over = this.#sessions.serve(server, { role, protocol, auth, allowPlain });
    const connected = new TestClient(client, over);
    this.#open.add(connected);
    over.finally(() => this.#open.delete(connected));
    return connected;
  }

  /** Sends a message through the whole chain, over a connection of its own. */
  async send(mail: TestMail): Promise<Sent> {
    const secure = mail.user ? { role: "submission", tls: "implicit" } as const : {};
    const client = this.connect({ ...secure, ...mail });
    try {
      return await converse(client, mail);
    } finally {
      client.close();
      await client.closed;
    }
  }

  /** A message of the server's own, as `host.submit()` takes it. @throws {Error} when it is refused. */
  submit(mail: Parameters<Host["submit"]>[0]): Promise<{ id: string }> {
    return this.#sessions.submit(mail);
  }

  /** The server goes down: idle sessions are told, running transactions may finish. */
  drain(): void {
    this.#draining.abort();
  }

  /** What is held at this moment: what a leak would show in. */
  async inUse(): Promise<InUse> {
    const before = this.#disk.before;
    this.#disk.before = () => {};
    const files = (await this.#disk.list(bodies)).length;
    this.#disk.before = before;
    return {
      connections: this.#open.size,
      octets: this.#bodies.memoryUsed,
      files,
      timers: this.clock.pending.length,
    };
  }

  /** Resets what is still connected, and disposes of the plugins. */
  async [Symbol.asyncDispose](): Promise<void> {
    const open = [...this.#open];
    for (const client of open) client.abort();
    await Promise.all(open.map((client) => client.closed));
    await this.#sessions.close();
  }

  async #load(
    plugins: readonly TestPlugin[],
  ): Promise<{ settings: Settings; generation: LoadedGeneration }> {
    const { hostname = "mx.example.org", limits = {}, timeouts = {}, trustedNetworks = [] } = this.#options;
    const table: Record<string, () => Promise<{ readonly default: unknown }>> = { ...bundled };
    const entries = plugins.map((plugin, i) => this.#entry(plugin, i, table));
    // As a file's text, so that options pass every check that an operator's do.
    const text = [
      `plugins:`,
      ...entries.map((entry) => `- ${plainJson(entry)}`),
      ...Object.entries({ hostname, limits, timeouts, trustedNetworks }).map(([key, value]) =>
        `${key}: ${plainJson(value)}`
      ),
    ].join("\n");
    const source = new Source("testServer", text);
    const { value, problems } = readValue(shape, source);
    if (!value) throw refusal([...source.problems, ...problems], entries);
    const result = await loadGeneration({
      source,
      entries: value.plugins,
      timeout: value.timeouts.plugin,
      number: ++this.#generations,
      services: this.#services,
      modules: new Modules(source.folder, table),
    });
    if ("problems" in result) throw refusal(result.problems, entries);
    return { settings: value, generation: result.generation };
  }

  /** The entry as it would stand in a file; a plugin that is an object gets a name, under which the loader finds it. */
  #entry(
    plugin: TestPlugin,
    index: number,
    table: Record<string, () => Promise<{ readonly default: unknown }>>,
  ): Record<string, unknown> {
    const entry: TestEntry = isPair(plugin)
      ? { use: plugin[0], with: plugin[1] }
      : typeof plugin === "object" && "use" in plugin
      ? plugin
      : { use: plugin };
    const { use, ...rest } = entry;
    if (typeof use === "string") return { use, ...rest };
    const name = `plugin-${index + 1}`;
    const made = use instanceof Mailboxes
      ? use.plugin((mail) => (this.delivered as DeliveredMail[]).push(mail))
      : use;
    table[name] = () => Promise.resolve({ default: made });
    return { use: name, ...rest };
  }
}

/**
 * Makes a server in memory: no sockets, no files, no waiting. Plugins are loaded as from a configuration, with their options
 * checked, and asked in the order given.
 *
 * @param options The plugins, and what else a configuration would say.
 * @throws {Error} when the plugins or their options are refused; the message has a line for each problem.
 *
 * @example
 * ```ts
 * import { definePlugin, duration, reject, z } from "postrider";
 * import { mailboxes, testServer } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 *
 * const blocklist = definePlugin({
 *   name: "blocklist",
 *   options: z.object({ senders: z.array(z.string()) }),
 *   setup(on, { senders }) {
 *     on("mail", (_session, { sender }) => {
 *       if (senders.includes(sender.address)) return reject("5.7.1", "Not from you");
 *     });
 *   },
 * });
 *
 * await using server = await testServer({
 *   plugins: [[blocklist, { senders: ["spam@example.net"] }], mailboxes(["example.org"])],
 * });
 * equal((await server.send({ from: "spam@example.net", to: "alice@example.org" })).outcome, "refused");
 * equal((await server.send({ from: "bob@example.net", to: "alice@example.org" })).outcome, "accepted");
 * equal(server.delivered.length, 1);
 * ```
 */
export function testServer(options: TestServerOptions): Promise<TestServer> {
  return TestServer.open(options);
}

function isPair(plugin: TestPlugin): plugin is readonly [UsedPlugin, unknown] {
  return Array.isArray(plugin);
}

/** JSON, which is YAML. @throws {TypeError} for what a configuration can't hold. */
function plainJson(value: unknown): string {
  return JSON.stringify(value, (key, inner) => {
    const plain = typeof inner !== "object" || inner === null || Array.isArray(inner) ||
      Object.getPrototypeOf(inner) === Object.prototype || Object.getPrototypeOf(inner) === null;
    if (plain && typeof inner !== "function" && typeof inner !== "bigint") return inner;
    throw new TypeError(`testServer: "${key}" is not plain data, as a configuration file would hold it`);
  });
}

/** Line 1 is `plugins:`, so that a plugin's line tells which one it is. */
function refusal(problems: readonly Problem[], entries: readonly unknown[]): Error {
  const lines = problems.map((problem) =>
    problem.line >= 2 && problem.line < entries.length + 2
      ? `plugin ${problem.line - 1}: ${problem.message}`
      : formatProblem(problem)
  );
  return new Error(`testServer: ${lines.join("\n")}`);
}
