/**
 * Builds a generation from the entries of `plugins:`: finds each plugin, checks its options, sets it up, and checks
 * that all of them can stand side by side. Says every problem in one run.
 */
import { inOrder, type Path, type Problem, readValue, type Source } from "./config/read.ts";
import type { PluginEntry } from "./config/config.ts";
import { closest } from "./config/sentence.ts";
import { type Generation, hookNames, type Instance } from "./generation.ts";
import { Facts, type HostServices, makeHost, Registered } from "./host.ts";
import { Running } from "./load/running.ts";
import { checkTogether, type Standing } from "./load/checks.ts";
import { Isolated, OptionsRefused, pathInFile } from "./isolate/isolated.ts";
import { whyNotPossible } from "./isolate/possible.ts";
import { type Located, Modules, whyNotImported } from "./load/module.ts";
import { type Naming, placeOf, textOf } from "./load/place.ts";
import { kind } from "./load/shape.ts";
import type { Dispose, Hooks, On, Plugin, Transport } from "./plugin.ts";

export { describeHooks, whyNobodyIsAccepted } from "./load/describe.ts";

/** What a generation is built from. */
export interface LoadRequest {
  /** The configuration file: problems are placed in it, paths are relative to it. */
  readonly source: Source;
  /** `plugins:` of that file, each entry at its own index. */
  readonly entries: readonly PluginEntry[];
  /** `timeouts.plugin`, in milliseconds: for entries that say nothing else. */
  readonly timeout: number;
  /** What the server is called. */
  readonly hostname: string;
  /** 1 for the first. */
  readonly number: number;
  readonly services: HostServices;
  /** Finds plugins; absent: bundled ones by name, others by path. */
  readonly modules?: Modules;
}

/** A generation, with what its plugins tell each other. */
export interface LoadedGeneration extends Generation {
  readonly facts: Facts;
  begin(): Promise<void>;
  end(): Promise<void>;
}

/** What came of it; warnings are what plugins warned of while they were set up. */
export type LoadResult =
  | { readonly generation: LoadedGeneration; readonly warnings: readonly Problem[] }
  | { readonly problems: readonly Problem[] };

/** Transports that are the server's own: no plugin may take their names, every plugin may name them. */
const builtInTransports = ["smtp"];

/** How long importing and setting up one plugin may take, in milliseconds: it may read files and open databases. */
const patience = 60_000;

const allRoles = ["mx", "submission"] as const;

/** Builds a generation. Never rejects: whatever a plugin does, it is a problem with a place. */
export async function loadGeneration(request: LoadRequest): Promise<LoadResult> {
  const loader = new Loader(request);
  return await loader.load();
}

/** An entry on its way. */
interface Candidate {
  readonly index: number;
  readonly entry: PluginEntry;
  readonly plugin: Plugin;
  readonly naming: Naming;
  readonly name: string;
  /** Where its code is not run here. */
  readonly isolated?: Isolated;
}

class Loader {
  readonly #request: LoadRequest;
  readonly #problems: Problem[] = [];
  readonly #facts = new Facts();
  readonly #disposals: { readonly name: string; readonly dispose: Dispose }[] = [];
  readonly #modules: Modules;
  readonly #isolated: Isolated[] = [];

  constructor(request: LoadRequest) {
    this.#request = request;
    this.#modules = request.modules ?? new Modules(request.source.folder, request.services.state);
  }

  async load(): Promise<LoadResult> {
    const candidates = await this.#find();
    const standing: Standing[] = [];
    for (const candidate of this.#named(candidates)) standing.push(await this.#stand(candidate));
    const complete = standing.length === this.#request.entries.length &&
      standing.every((one) => one.registered);
    checkTogether(standing, complete, builtInTransports, ({ index }, message, isCulprit) => {
      this.#complain(this.#placeOfText(index, isCulprit), message);
    });
    const registered = standing.flatMap((one) => one.registered ?? []);
    const generation = this.#generation(registered);
    const warnings = this.#warnings(standing);
    if (this.#problems.length === 0) return { generation, warnings };
    await generation.dispose();
    for (const one of this.#isolated) one.abandon();
    return { problems: inOrder([...this.#problems, ...warnings]) };
  }

  async #find(): Promise<Candidate[]> {
    const { entries, services } = this.#request;
    const found = await Promise.all(entries.map(async (entry, index) => {
      const problem = `${entry.use} could not be imported within ${
        patience / 1000
      } s: does it wait at its top level?`;
      const found = entry.isolate ? this.#isolate(entry, index) : this.#modules.find(entry.use);
      const result = await withPatience(found, services.clock).catch(() => ({ problem }));
      return { entry, index, result };
    }));
    return found.flatMap(({ entry, index, result }) => {
      if ("plugin" in result) return [{ entry, index, ...result, name: entry.as ?? result.plugin.name }];
      this.#complain(this.#placeOfUse(index), result.problem);
      return [];
    });
  }

  /** Starts a Worker for the plugin, which says what it is; never rejects. */
  async #isolate(
    entry: PluginEntry,
    index: number,
  ): Promise<Pick<Candidate, "plugin" | "naming" | "isolated"> | { readonly problem: string }> {
    const located: Located = await this.#modules.locate(entry.use);
    if ("problem" in located) return located;
    const impossible = await whyNotPossible();
    if (impossible !== undefined) return { problem: impossible };
    const { source, services } = this.#request;
    const { isolate: permissions = {}, with: options, as } = entry;
    const written = writtenIn(source, ["plugins", index, "with"], options);
    try {
      const file = source.file;
      const isolated = new Isolated({ ...located, services, permissions, file, options, written, as });
      this.#isolated.push(isolated);
      return { plugin: await isolated.plugin(), naming: located.naming, isolated };
    } catch (error) {
      const text = textOf(error);
      const isShape = text.startsWith(`${entry.use} `);
      return {
        problem: isShape ? text : `${entry.use} cannot be isolated: ${whyNotImported(error, located.naming)}`,
      };
    }
  }

  /** Those with a name of their own; the others would share the first one's store, directory and log lines. */
  #named(candidates: readonly Candidate[]): Candidate[] {
    const taken = new Map<string, Candidate>();
    for (const candidate of candidates) {
      const { name, entry, index } = candidate;
      const first = taken.get(name);
      if (!first) {
        taken.set(name, candidate);
        continue;
      }
      const advice = entry.as === undefined
        ? `give this entry a name by \`as:\``
        : "give one of them another name";
      const line = this.#placeOfUse(first.index).line;
      const place = entry.as === undefined ? this.#placeOfUse(index) : this.#place(["plugins", index, "as"]);
      this.#complain(place, `line ${line} is called "${name}" already: ${advice}`);
    }
    return [...taken.values()];
  }

  /** Checks an entry's options and sets its plugin up; where that fails it stands there all the same, to be counted. */
  async #stand(candidate: Candidate): Promise<Standing> {
    const { index, plugin, name } = candidate;
    const options = this.#options(candidate);
    const standing = {
      index,
      name,
      plugin,
      line: this.#placeOfUse(index).line,
    };
    const registered = options && await this.#setUp(candidate, options.value);
    const transports = candidate.isolated?.named ?? options?.transports ?? [];
    return { ...standing, transports, registered };
  }

  #options(
    { index, plugin, name, entry, isolated }: Candidate,
  ): { value: unknown; transports: readonly Transport[] } | undefined {
    if (isolated) return { value: {}, transports: [] }; // its schema is in the Worker: setup checks them
    const base: Path = ["plugins", index, "with"];
    const { source } = this.#request;
    const given = entry.with ?? {};
    if (!plugin.options) {
      if (typeof given === "object" && Object.keys(given).length === 0) return { value: {}, transports: [] };
      this.#complain(source.at(base, "key"), `${name} takes no options: remove \`with\``);
      return undefined;
    }
    const before = this.#problems.length;
    const { value, problems, transports } = readValue(plugin.options, source, base, given);
    this.#problems.push(...problems);
    return this.#problems.length === before ? { value, transports } : undefined;
  }

  async #setUp(candidate: Candidate, options: unknown): Promise<Registered | undefined> {
    const { plugin, entry, name } = candidate;
    const { services, timeout, hostname } = this.#request;
    const handlers: { [K in keyof Hooks]?: Hooks[K] } = {};
    const mechanisms = typeof plugin.mechanisms === "function"
      ? plugin.mechanisms(options)
      : plugin.mechanisms ?? ["PLAIN", "LOGIN"];
    const instance: Instance = {
      name,
      handlers,
      timeout: entry.timeout ?? timeout,
      onError: entry.onError,
      roles: entry.roles ?? plugin.roles ?? allRoles,
      get mechanisms() {
        return candidate.isolated?.mechanisms ?? mechanisms;
      },
      observe: entry.observe,
      ...(entry.when && { when: entry.when }),
    };
    const registered = new Registered(instance, entry.as);
    const host = makeHost(registered, services, this.#facts, hostname);
    const settingUp =
      (async () => await plugin.setup(this.#on(candidate, registered, handlers), options, host))();
    try {
      const dispose = await withPatience(settingUp, services.clock);
      if (typeof dispose === "function") this.#disposals.push({ name, dispose });
      else if (dispose !== undefined) {
        const message = `setup of ${name} gives ${
          kind(dispose)
        }: only a function, to be called at the end, means something`;
        this.#complain(this.#placeOfUse(candidate.index), message);
      }
      return registered;
    } catch (error) {
      this.#setupFailed(candidate, error);
      // A setup that is only late may still open things.
      if (error instanceof Late) settingUp.then((dispose) => dispose?.()).catch(() => {});
      return undefined;
    } finally {
      registered.close();
    }
  }

  #on(
    { index, name, naming }: Candidate,
    registered: Registered,
    handlers: { [K in keyof Hooks]?: Hooks[K] },
  ): On {
    return (hook, handler) => {
      registered.demandSetup(`on("${hook}", …)`);
      const complain = (message: string) => {
        const place = placeOf(new Error(), naming);
        this.#complain(this.#placeOfUse(index), place ? `${message} (${place})` : message);
      };
      if (!hookNames.includes(hook)) {
        const meant = closest(String(hook), hookNames);
        return complain(`${name}: there is no hook "${hook}"${meant ? `: did you mean "${meant}"?` : ""}`);
      }
      if (typeof handler !== "function") {
        return complain(`${name}: the handler of "${hook}" is ${kind(handler)}`);
      }
      if (handlers[hook]) {
        return complain(`${name}: the hook "${hook}" is registered twice: make one handler of both`);
      }
      handlers[hook] = handler;
    };
  }

  #setupFailed({ index, name, naming }: Candidate, error: unknown): void {
    const place = this.#placeOfUse(index);
    if (error instanceof OptionsRefused) {
      for (const problem of error.problems) {
        this.#complain(this.#request.source.at(pathInFile(problem, index), problem.what), problem.message);
      }
      return;
    }
    if (error instanceof Late) {
      return this.#complain(place, `setup of ${name} did not end within ${patience / 1000} s`);
    }
    for (const one of error instanceof AggregateError ? error.errors : [error]) {
      const elsewhere = inAFile(one);
      if (elsewhere) this.#problems.push(elsewhere);
      else {
        const where = placeOf(one, naming);
        this.#complain(place, `setup of ${name} failed: ${textOf(one)}${where ? ` (${where})` : ""}`);
      }
    }
  }

  #generation(registered: readonly Registered[]): LoadedGeneration {
    const { number, services } = this.#request;
    const disposals = [...this.#disposals].reverse();
    const modules = this.#modules;
    const running = new Running(
      registered.flatMap(({ instance, runs }) => runs.map((begin) => ({ plugin: instance.name, begin }))),
      (plugin, error) =>
        services.log.error("plugin failed at its end", {
          plugin,
          generation: number,
          error: textOf(error),
        }),
    );
    let disposed: Promise<void> | undefined;
    async function disposeOfAll(): Promise<void> {
      await running.end();
      for (const { name, dispose } of disposals) {
        try {
          await dispose();
        } catch (error) {
          services.log.error("plugin failed at its end", {
            plugin: name,
            generation: number,
            error: textOf(error),
          });
        }
      }
      await modules.close();
    }
    return {
      number,
      instances: registered.map(({ instance }) => instance),
      owners: ownersOf(registered),
      transports: new Map(registered.flatMap(({ transports }) => transports.map((one) => [one.name, one]))),
      offers: registered.flatMap(({ offers }) => offers),
      facts: this.#facts,
      begin: () => running.begin(),
      end: () => running.end(),
      dispose: () => disposed ??= disposeOfAll(),
    };
  }

  #warnings(standing: readonly Standing[]): Problem[] {
    return standing.flatMap(({ index, name, registered }) =>
      (registered?.warnings ?? []).map((text) =>
        this.#request.source.problem(`${name}: ${text}`, this.#placeOfUse(index), "warning")
      )
    );
  }

  #complain(place: { line: number; column: number }, message: string): void {
    this.#problems.push(this.#request.source.problem(message, place));
  }

  #place(path: Path) {
    return this.#request.source.at(path);
  }

  #placeOfUse(index: number) {
    const long: Path = ["plugins", index, "use"];
    return this.#place(this.#request.source.has(long) ? long : ["plugins", index]);
  }

  /** Where a text stands among an entry's options; where it doesn't (it is a default), the entry itself. */
  #placeOfText(index: number, isMeant: ((text: string) => boolean) | undefined) {
    const base: Path = ["plugins", index, "with"];
    const path = isMeant && pathTo(isMeant, this.#request.source.get(base));
    return path ? this.#place([...base, ...path]) : this.#placeOfUse(index);
  }
}

class Late extends Error {}

function withPatience<T>(work: Promise<T>, clock: HostServices["clock"]): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(patience, () => reject(new Late()));
    work.then(resolve, reject).finally(cancel);
  });
}

/** The problem of a file that a plugin read: its error says `FILE:LINE:COLUMN: what is wrong`. */
function inAFile(error: unknown): Problem | undefined {
  const [, file, line, column, message] =
    /^([^\n:]+):(\d+):(\d+): ([^]+)$/.exec(error instanceof Error ? error.message : "") ?? [];
  if (file === undefined || message === undefined) return undefined;
  return {
    file,
    line: Number(line),
    column: Number(column),
    message: message.split("\n", 1)[0]!,
    severity: "error",
  };
}

/** Where variables stand in a value of the file, with the text that was written. */
function writtenIn(
  source: Source,
  base: Path,
  value: unknown,
  path: Path = [],
): (readonly [string, string])[] {
  if (typeof value === "string") {
    const text = source.writtenAt([...base, ...path]);
    return text === undefined ? [] : [[JSON.stringify(["with", ...path]), text]];
  }
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    writtenIn(source, base, inner, [...path, Array.isArray(value) ? Number(key) : key])
  );
}

function pathTo(isMeant: (text: string) => boolean, value: unknown): Path | undefined {
  if (typeof value === "string") return isMeant(value) ? [] : undefined;
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    const rest = pathTo(isMeant, inner);
    if (rest) return [Array.isArray(value) ? Number(key) : key, ...rest];
  }
  return undefined;
}

/** Several may own a domain: aliases and mailboxes share one. Who stands first answers for it. */
function ownersOf(registered: readonly Registered[]): Map<string, Instance> {
  const owners = new Map<string, Instance>();
  for (const { instance, domains } of registered) {
    for (const domain of domains) if (!owners.has(domain)) owners.set(domain, instance);
  }
  return owners;
}
