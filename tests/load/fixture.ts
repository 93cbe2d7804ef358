/** Loads plugins from a configuration and files given as text, for tests of the loader. */
import { fakeDns } from "../../server/testing/dns.ts";
import { config } from "../../server/config/config.ts";
import { formatProblem, readValue, Source } from "../../server/config/read.ts";
import type { HostServices } from "../../server/host.ts";
import { type LoadedGeneration, loadGeneration, type LoadRequest } from "../../server/load.ts";
import { Modules } from "../../server/load/module.ts";
import { accept } from "../../server/plugin.ts";
import { memoryStore } from "../../server/store.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";

/** Files by name; `postrider.yaml` is the configuration. */
export type Files = Readonly<Record<string, string>>;

/** A folder with these files in it, gone when the test is over. */
export class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async of(files: Files): Promise<Folder> {
    const folder = new Folder(await Deno.makeTempDir());
    for (const [name, text] of Object.entries(files)) await folder.write(name, text);
    return folder;
  }

  write(name: string, text: string): Promise<void> {
    return Deno.writeTextFile(`${this.path}/${name}`, text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** The server's edges, all of them fakes. */
export function fakeServices(state = "/nowhere") {
  const clock = new FakeClock();
  return {
    clock,
    log: memoryLog(),
    store: memoryStore(clock),
    cache: memoryStore(clock),
    dns: fakeDns(),
    state,
    submit: () => Promise.resolve({ id: "1" }),
    verify: () => Promise.resolve(accept()),
    queue: { retry: () => Promise.resolve({ messages: 0 }) },
    history: { after: () => Promise.reject(new Error("there is no history")) },
  } satisfies HostServices;
}

/** Loads what the folder's `postrider.yaml` names. */
export async function loadFrom(folder: Folder, how: Partial<LoadRequest> = {}) {
  const file = `${folder.path}/postrider.yaml`;
  const source = new Source(file, await Deno.readTextFile(file));
  const { value: entries, problems } = readValue(config.shape.plugins, source, ["plugins"]);
  if (!entries) throw new Error(problems.map(formatProblem).join("\n"));
  return await loadGeneration({
    source,
    entries,
    timeout: 30_000,
    hostname: "mx.example.org",
    number: 1,
    services: fakeServices(folder.path),
    ...how,
  });
}

/** The problems of a configuration, without the folder's name. */
export async function problemsOf(files: Files, how: Partial<LoadRequest> = {}): Promise<string[]> {
  await using folder = await Folder.of(files);
  const result = await loadFrom(folder, how);
  const found = "problems" in result ? result.problems : result.warnings;
  if ("generation" in result) await result.generation.dispose();
  return found.map((one) => formatProblem(one).replaceAll(folder.path, "DIR").replace(/^DIR\//, ""));
}

/** The generation of a configuration without problems. */
export async function generationOf(files: Files, how: Partial<LoadRequest> = {}): Promise<LoadedGeneration> {
  await using folder = await Folder.of(files);
  const result = await loadFrom(folder, how);
  if ("problems" in result) throw new Error(result.problems.map(formatProblem).join("\n"));
  return result.generation;
}

/** Plugins by name that are objects of the test's own, as if they were bundled. */
export function modulesOf(folder: string, plugins: Readonly<Record<string, unknown>>): Modules {
  const table = Object.entries(plugins).map((
    [name, plugin],
  ) => [name, () => Promise.resolve({ default: plugin })]);
  return new Modules(folder, folder, Object.fromEntries(table));
}

/** The text of a plugin called `mine` with this setup. */
export const file = (setup: string, more = "") =>
  `import { accept, cidr, defer, definePlugin, delivered, duration, fact, reject, transport, z } from "postrider";
export default definePlugin({ name: "mine", ${more} setup(on, options, host) {
${setup}
} });
`;
/** The configuration that uses it. */
export const mine = "plugins: [{ use: ./mine.ts }]\n";
