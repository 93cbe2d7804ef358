/** From a configuration file to plugins that are ready: what `check` tells and `serve` starts from. */
import { type Config, config } from "./config/config.ts";
import { inOrder, type Io, type Problem, readConfig, readValue, type Source } from "./config/read.ts";
import type { HostServices } from "./host.ts";
import { type LoadedGeneration, loadGeneration, whyNobodyIsAccepted } from "./load.ts";
import { whyNoPostmaster, whyOpenRelay } from "./relay_check.ts";

/** A configuration that was read without an error. */
export interface Read {
  readonly kind: "read";
  readonly config: Config;
  readonly source: Source;
  readonly problems: readonly Problem[];
}

/** One with an error among its problems. */
export interface Unfit {
  readonly kind: "unfit";
  readonly source: Source;
  readonly problems: readonly Problem[];
}

/** Plugins that are ready, and what was warned of; or why there are none. */
export type Prepared =
  | { readonly kind: "ready"; readonly generation: LoadedGeneration; readonly problems: readonly Problem[] }
  | { readonly kind: "refused"; readonly problems: readonly Problem[] };

/** How long a handler may take where the configuration can't say, in milliseconds. */
const defaultTimeout = 30_000;

/** The machine's files and environment. */
export const systemIo: Io = {
  readTextFile: (path) => Deno.readTextFile(path),
  env: (name) => Deno.env.get(name),
};

/**
 * Loads the plugins of a configuration, and asks them what no configuration may be: an open relay, one that takes no mail at
 * all, a domain without postmaster.
 *
 * @param number The generation's: 1 for the first.
 */
export async function prepare(
  { config, source }: Read,
  number: number,
  services: HostServices,
): Promise<Prepared> {
  const entries = config.plugins;
  const { hostname, timeouts: { plugin: timeout } } = config;
  const loaded = await loadGeneration({ source, entries, timeout, hostname, number, services });
  if ("problems" in loaded) return { kind: "refused", problems: loaded.problems };
  const { generation, warnings } = loaded;
  const wrong = whyNobodyIsAccepted(generation) ??
    await whyOpenRelay(generation, services.clock) ??
    await whyNoPostmaster(generation, services.clock);
  if (wrong === undefined) return { kind: "ready", generation, problems: warnings };
  await generation.dispose();
  return {
    kind: "refused",
    problems: inOrder([...warnings, source.problem(wrong, source.at(["plugins"], "key"))]),
  };
}

/** Reads a configuration. */
export async function read(file: string, io: Io = systemIo): Promise<Read | Unfit> {
  const { config, source, problems } = await readConfig(file, io);
  return config ? { kind: "read", config, source, problems } : { kind: "unfit", source, problems };
}

/** What is wrong with the plugins of a configuration that has another error: all is to be told in one run. */
export async function problemsOfPlugins(
  { source }: Unfit,
  services: HostServices,
): Promise<readonly Problem[]> {
  const { value: entries } = readValue(config.shape.plugins, source, ["plugins"]);
  if (!entries) return [];
  const timeout = defaultTimeout;
  const hostname = "localhost"; // the setups are tried, and nothing more
  const loaded = await loadGeneration({ source, entries, timeout, hostname, number: 1, services });
  if ("problems" in loaded) return loaded.problems;
  await loaded.generation.dispose();
  return loaded.warnings;
}
