/** What a test server is made of, put through the checks that a configuration and its plugins go through. */
import { bundled } from "../bundled.ts";
import { config } from "../config/config.ts";
import { formatProblem, type Problem, readValue, Source } from "../config/read.ts";
import type { HostServices } from "../host.ts";
import { type LoadedGeneration, loadGeneration } from "../load.ts";
import { Modules } from "../load/module.ts";
import type { Duration, Size } from "../options.ts";
import type { Api, Plugin, Session } from "../plugin.ts";
import { z } from "../plugin.ts";
import type { FakeName } from "./dns.ts";
import { type DeliveredMail, Mailboxes } from "./mailboxes.ts";
import type { SmtpAnswer } from "./outgoing.ts";
import type { NextHopAnswer } from "./passing.ts";

/**
 * A plugin: what `definePlugin` gives, a function that makes one of the API, {@linkcode Mailboxes}, a bundled one's name, or the URL of
 * a file, `new URL("./greylist.ts", import.meta.url)`.
 */
export type UsedPlugin = Plugin | ((api: Api) => Plugin) | Mailboxes | string | URL;

/** What an isolated plugin may do; what isn't there, it may not. `true`: all of that kind. */
export interface Isolate {
  /** Hosts that it may connect to, as `example.org:443`. */
  readonly net?: boolean | readonly string[];
  /** Files and folders that it may read. */
  readonly read?: boolean | readonly string[];
  /** Files and folders that it may write. */
  readonly write?: boolean | readonly string[];
  /** Environment variables that it may read. */
  readonly env?: boolean | readonly string[];
  /** Programs that it may start. */
  readonly run?: boolean | readonly string[];
  /** What it may learn of the system, as `hostname`. */
  readonly sys?: boolean | readonly string[];
}

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
  /** `queued`: asked after the reply, before the first attempt. */
  readonly when?: "arrival" | "queued";
  /**
   * In a thread of its own, where it may do what is listed only; `use` is then a URL. Deno needs `--unstable-worker-options` for it.
   * The thread takes its time, whatever the test's clock says.
   */
  readonly isolate?: Isolate;
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
  /** As in the configuration: when mail is tried again, and for how long. */
  readonly outbound?: {
    readonly retry?: readonly string[];
    readonly giveUpAfter?: Duration;
    readonly delayNoticeAfter?: Duration;
    readonly concurrency?: { readonly total?: number; readonly perDestination?: number };
  };
  /** What hosts out there say to mail that leaves by `smtp`; default: they take it. */
  readonly smtp?: SmtpAnswer;
  /** What a proxy's next hop says at RCPT; default: it takes everybody. What it says to the message is `smtp`'s. */
  readonly nextHop?: NextHopAnswer;
  /** What there is in the DNS. */
  readonly dns?: Readonly<Record<string, FakeName>>;
  /** The folder for plugins that ask for `host.state`; default: one of its own, made when first asked for, gone with the server. */
  readonly state?: string;
}

/** What is set up of a server's options. */
const shape = z.strictObject({
  hostname: config.shape.hostname,
  limits: config.shape.limits,
  timeouts: config.shape.timeouts,
  trustedNetworks: config.shape.trustedNetworks,
  outbound: config.shape.outbound,
  plugins: config.shape.plugins,
});

/** What a test server is called. */
export const defaultHostname = "mx.example.org";

/** What loading needs of the server. */
export interface TestLoading {
  /** Of the generation. */
  readonly number: number;
  readonly services: HostServices;
  /** Told of what {@linkcode Mailboxes} take. */
  readonly keep: (mail: DeliveredMail) => void;
}

type Table = Record<string, () => Promise<{ readonly default: unknown }>>;

/** Loads the plugins of a test server with its settings. @throws {Error} when they are refused. */
export async function loadTest(
  { plugins, hostname = defaultHostname, limits = {}, timeouts = {}, trustedNetworks = [], outbound = {} }:
    TestServerOptions,
  { number, services, keep }: TestLoading,
): Promise<{ readonly settings: z.output<typeof shape>; readonly generation: LoadedGeneration }> {
  const table: Table = { ...bundled };
  const entries = plugins.map((plugin, i) => entryOf(plugin, i, table, keep));
  // As a file's text, so that options pass every check that an operator's do.
  const text = [
    `plugins:`,
    ...entries.map((entry) => `- ${plainJson(entry)}`),
    ...Object.entries({ hostname, limits, timeouts, trustedNetworks, outbound }).map(([key, value]) =>
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
    hostname: value.hostname,
    number,
    services,
    modules: new Modules(source.folder, () => services.state, table),
  });
  if ("problems" in result) throw refusal(result.problems, entries);
  return { settings: value, generation: result.generation };
}

/** The entry as it would stand in a file; a plugin that is an object gets a name, under which the loader finds it. */
function entryOf(
  plugin: TestPlugin,
  index: number,
  table: Table,
  keep: TestLoading["keep"],
): Record<string, unknown> {
  const entry: TestEntry = isPair(plugin)
    ? { use: plugin[0], with: plugin[1] }
    : typeof plugin === "object" && !(plugin instanceof URL) && "use" in plugin
    ? plugin
    : { use: plugin };
  const { use, ...rest } = entry;
  if (typeof use === "string") return { use, ...rest };
  if (use instanceof URL) return { use: use.href, ...rest };
  const name = `plugin-${index + 1}`;
  const made = use instanceof Mailboxes ? use.plugin(keep) : use;
  table[name] = () => Promise.resolve({ default: made });
  return { use: name, ...rest };
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
