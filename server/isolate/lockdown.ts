/**
 * In the Worker, before the plugin's code: takes away what Deno's permissions don't reach. A Worker is a thread of the server's
 * process, and Deno lets it end that process (`process.kill` of its own pid, `process.abort`), change V8's flags, open the process's
 * descriptors as sockets, load any package of the registry, and start threads in which none of this is taken away.
 *
 * The plugin shares these globals and could replace what they do: so what judges an import uses syntax only, no methods.
 */
import Module, { registerHooks } from "node:module";
import process from "node:process";
import tty from "node:tty";
import url from "node:url";
import path from "node:path";
import { linkOf, type Naming } from "../load/place.ts";

/** Modules of the runtime that a plugin, or a package of its, may have. The others end or inspect the process, or make threads. */
const allowed =
  ("assert assert/strict async_hooks buffer child_process console constants crypto diagnostics_channel dns dns/promises events fs " +
    "fs/promises http http2 https module net os path path/posix path/win32 perf_hooks process punycode querystring readline " +
    "readline/promises stream stream/consumers stream/promises stream/web string_decoder timers timers/promises tls tty url util " +
    "util/types zlib dgram").split(" ");

/** Those of which only the object is safe, not what they export by name: that is made of the object. */
const remade = ["process", "module", "tty"];

type Table<T> = Readonly<Record<string, T>>;
type Resolve = NonNullable<Parameters<typeof registerHooks>[0]["resolve"]>;

function tableOf<T>(entries: readonly (readonly [string, T])[]): Table<T> {
  const table: Record<string, T> = Object.create(null);
  for (const [name, value] of entries) table[name] = value;
  return Object.freeze(table);
}

/**
 * Limits this thread. What it imports from now on is judged: packages, code in the plugin's own folder, and what it may read.
 *
 * @param exited Told when the plugin wants this thread to end.
 * @returns To be called when the plugin's module has run: no package can be named from then on that it hasn't named by then, for a
 * name that isn't there yet is asked of the registry, and could tell it anything.
 */
export async function lockDown(naming: Naming, href: string, exited: () => void): Promise<() => void> {
  const judge = new Judge(await judgingOf(naming, href));
  takeAway(exited);
  registerHooks({ resolve: (specifier, context, next) => judge.resolve(specifier, context, next) });
  // The machinery of the hooks keeps them in arrays, and turns them off while it calls these: nobody may get between.
  for (const one of [Array.prototype, Object.prototype]) Object.preventExtensions(one);
  for (const one of [Module, Module.prototype, url, path, path.posix, path.win32]) Object.freeze(one);
  return () => judge.begin();
}

// ── Imports ────────────────────────────────────────────────────────────────────────────────────────

interface Judging {
  readonly builtins: Table<true>;
  readonly shims: Table<string>;
  /** Modules of the runtime that it doesn't have at hand. */
  readonly late: Table<true>;
  /** A module that says it can't be had. */
  readonly refusal: (name: string) => string;
  /** The folder of the plugin's file, and the server's, with the slash at the end. */
  readonly folder: string;
  readonly server: string;
  /** `mod.ts`, and what stands for it. */
  readonly postrider: string;
  readonly api: string;
  /** What stands before paths in a generation that reads its code anew. */
  readonly link: string;
  readonly mayRead: (url: string) => boolean;
}

async function judgingOf(naming: Naming, href: string): Promise<Judging> {
  const shims: [string, string][] = [];
  for (const name of remade) {
    const names = Object.keys(await import(`node:${name}`)).filter((one) => one !== "default");
    // `export { a as "b" }` takes any name; a `const` doesn't.
    const exported = names.map((one, i) =>
      `const e${i} = it[${JSON.stringify(one)}]; export { e${i} as ${one} };`
    );
    const code = `const it = process.getBuiltinModule("${name}"); export default it; ${exported.join(" ")}`;
    shims.push([name, `data:text/javascript,${encodeURIComponent(code)}`]);
  }
  const { querySync } = Deno.permissions;
  const query = querySync.bind(Deno.permissions);
  const ask = URL;
  const link = linkOf(href, naming);
  const server = new URL("../../", import.meta.url).href;
  return {
    builtins: tableOf(allowed.map((name) => [name, true])),
    shims: tableOf(shims),
    late: tableOf([["worker_threads", true]]),
    refusal,
    folder: new URL("./", naming.url).href,
    server,
    postrider: `${server}mod.ts`,
    api: `${server}server/plugin.ts`,
    link,
    mayRead: (of) => query({ name: "read", path: new ask(of) }).state === "granted",
  };
}

const { keys } = Object;
const { getBuiltinModule } = process;
const encode = encodeURIComponent;

/** Throws when it runs; it has the names of the real one, for without them it would be they that are missed. */
function refusal(name: string): string {
  let code = "";
  const names = keys(getBuiltinModule(name) ?? {});
  for (let i = 0; i < names.length; i++) {
    if (names[i] !== "default") code += `let e${i}; export { e${i} as ${names[i]} }; `;
  }
  code += `export default undefined; throw new TypeError("an isolated plugin can't have node:${name}");`;
  return `data:text/javascript,${encode(code)}`;
}

class Judge {
  readonly #how: Judging;
  readonly #named: Record<string, true> = Object.create(null);
  #hasBegun = false;

  constructor(how: Judging) {
    this.#how = how;
  }

  begin(): void {
    this.#hasBegun = true;
  }

  resolve: Resolve = (specifier, context, next) => {
    const resolved = next(specifier, context);
    const to = resolved.url; // judged instead of the specifier, in which `NPM:` and a tab are as good
    const from = context.parentURL ?? "";
    if (typeof to !== "string") return resolved; // nothing is called so: Deno says that
    if (isOfRegistry(to) || (isOfPackages(to) && !isOfPackages(from))) this.#package(specifier, to);
    if (starts(to, "node:")) return this.#builtin(cut(to, 5), to, isRequired(context.conditions));
    if (starts(to, "file:")) {
      // What plugins import of `postrider` is here already; the rest of the server is of no use in this thread.
      if (without(this.#how.link, to) === this.#how.postrider) {
        return { url: this.#how.api, shortCircuit: true };
      }
      this.#file(to, from, (context.importAttributes as { type?: string } | undefined)?.type);
    }
    return resolved; // what comes from the network needs a permission that isn't given
  };

  #package(specifier: string, to: string): void {
    if (this.#hasBegun && !this.#named[specifier] && !this.#named[to]) {
      throw new TypeError(`${specifier}: an isolated plugin imports packages at its start, or not at all`);
    }
    this.#named[specifier] = this.#named[to] = true;
  }

  #builtin(
    name: string,
    to: string,
    required: boolean,
  ): { url: string; shortCircuit: true; format?: "module" } {
    if (!this.#how.builtins[name]) {
      // Where `import … from "node:v8"` stands in a module's text, the runtime passes over what is thrown here, and takes another
      // module in its place; of those it loads late, the other way round.
      if (required || this.#how.late[name]) throw new TypeError(`an isolated plugin can't have ${to}`);
      return { url: this.#how.refusal(name), shortCircuit: true, format: "module" };
    }
    const shim = required ? undefined : this.#how.shims[name];
    return shim === undefined
      ? { url: to, shortCircuit: true }
      : { url: shim, shortCircuit: true, format: "module" };
  }

  #file(to: string, from: string, type: string | undefined): void {
    const { folder, server, link, mayRead } = this.#how;
    if (hasSlashInDisguise(to)) throw new TypeError(`${to}: write its path plainly`);
    const [at, by] = [without(link, to), without(link, from)];
    const isCode = type === undefined && isScript(at);
    if (isOfPackages(at) && (isCode || isOfPackages(by))) return;
    if (starts(at, server) && (isCode || starts(by, server))) return;
    if (isCode && starts(at, folder)) return;
    if (mayRead(at)) return;
    const why = isCode ? "which is outside of its folder" : "which isn't code";
    throw new TypeError(`the plugin imports ${at}, ${why}: list it under \`read\``);
  }
}

function starts(text: string, prefix: string): boolean {
  for (let i = 0; i < prefix.length; i++) if (text[i] !== prefix[i]) return false;
  return true;
}

function ends(text: string, suffix: string): boolean {
  const first = text.length - suffix.length;
  for (let i = 0; i < suffix.length; i++) if (text[first + i] !== suffix[i]) return false;
  return first >= 0;
}

function cut(text: string, first: number): string {
  let rest = "";
  for (let i = first; i < text.length; i++) rest += text[i];
  return rest;
}

function contains(text: string, part: string): boolean {
  for (let i = 0; i + part.length <= text.length; i++) {
    let isHere = true;
    for (let j = 0; isHere && j < part.length; j++) isHere = text[i + j] === part[j];
    if (isHere) return true;
  }
  return false;
}

const without = (link: string, href: string) =>
  link !== "" && starts(href, `file://${link}/`) ? `file://${cut(href, 7 + link.length)}` : href;

const isRequired = (conditions: readonly string[]) => {
  for (let i = 0; i < conditions.length; i++) if (conditions[i] === "require") return true;
  return false;
};

const isScript = (href: string) =>
  ends(href, ".ts") || ends(href, ".js") || ends(href, ".mts") || ends(href, ".mjs") || ends(href, ".cts") ||
  ends(href, ".cjs") || ends(href, ".tsx") || ends(href, ".jsx");

/** Deno's own store of packages, or a folder of them. */
const isOfPackages = (href: string) =>
  starts(href, "file:") &&
  (contains(href, "/node_modules/") || contains(href, "/npm/registry.npmjs.org/"));

const isOfRegistry = (href: string) => starts(href, "npm:") || starts(href, "jsr:");

/** A path that isn't what it looks like: `..%2f`. */
const hasSlashInDisguise = (href: string) =>
  contains(href, "%2f") || contains(href, "%2F") || contains(href, "%5c") || contains(href, "%5C");

// ── What is there without an import ────────────────────────────────────────────────────────────────

/** Replaces for good. */
function put(of: object, name: PropertyKey, value: unknown): void {
  Object.defineProperty(of, name, { value, writable: false, configurable: false, enumerable: true });
}

function refuse(of: object, prefix: string, names: readonly string[]): void {
  for (const name of names) {
    put(of, name, () => {
      throw new TypeError(`an isolated plugin can't call ${prefix}${name}`);
    });
  }
}

function takeAway(exited: () => void): void {
  const scope = globalThis as unknown as Record<string, unknown>;
  // A thread of its own would be without all this; `caches` writes to the disk; `prompt` asks in the operator's terminal.
  for (const name of ["Worker", "BroadcastChannel", "caches", "CacheStorage", "prompt", "alert", "confirm"]) {
    if (name in scope) put(scope, name, undefined);
  }
  // They end this thread only, but nobody would hear of it.
  for (
    const [of, name] of [[scope, "close"], [Deno, "exit"], [process, "exit"], [
      process,
      "reallyExit",
    ]] as const
  ) {
    put(of, name, () => {
      exited();
      throw new Error("the plugin has ended itself");
    });
  }
  const deno = Deno as unknown as Record<PropertyKey, unknown>;
  put(deno, (deno as { internal: symbol }).internal, undefined);
  refuse(deno, "Deno.", ["kill", "addSignalListener", "removeSignalListener", "chdir", "umask"]);
  refuse(Deno.env, "Deno.env.", ["set", "delete"]); // the environment is the process's
  // Descriptors are the process's: sockets of clients, the queue's files.
  const bindings =
    (process as unknown as { binding(name: string): Record<string, { prototype: object }> }).binding;
  for (const [binding, name] of [["pipe_wrap", "Pipe"], ["tcp_wrap", "TCP"], ["udp_wrap", "UDP"]] as const) {
    refuse(bindings(binding)[name]!.prototype, "", ["open"]);
  }
  const builtin = process.getBuiltinModule;
  refuse(process, "process.", [
    ..."kill _kill _debugProcess abort binding _linkedBinding chdir dlopen umask loadEnvFile _eval"
      .split(" "),
    ..."setuid seteuid setgid setegid setgroups initgroups openStdin _rawDebug setSourceMapsEnabled".split(
      " ",
    ),
  ]);
  put(process, "mainModule", undefined);
  put(process, "env", readOnly(process.env));
  const builtins = tableOf(allowed.map((name) => [name, true]));
  put(process, "getBuiltinModule", (id: string) => {
    const text = `${id}`;
    return builtins[starts(text, "node:") ? cut(text, 5) : text] ? builtin(text) : undefined;
  });
  refuse(Module, "module.", [
    "registerHooks",
    "register",
    "enableCompileCache",
    "syncBuiltinESMExports",
    "runMain",
  ]);
  refuse(tty, "tty.", ["ReadStream", "WriteStream"]);
  // What code without a global scope of its own finds.
  put(scope, "process", process);
  put(scope, "Deno", Deno);
}

/** The environment to be read. Packages look whether variables are there: one that isn't granted is not there. */
function readOnly(env: typeof process.env): typeof process.env {
  const never = () => false;
  const tried = <T>(what: () => T, otherwise: T): T => {
    try {
      return what();
    } catch {
      return otherwise;
    }
  };
  const get = (name: PropertyKey) => tried(() => env[name as string], undefined);
  return new Proxy({}, {
    get: (_, name) => get(name),
    has: (_, name) => get(name) !== undefined,
    ownKeys: () => tried(() => Object.keys(env), []),
    getOwnPropertyDescriptor(_, name) {
      const value = get(name);
      return value === undefined ? undefined : { value, enumerable: true, configurable: true };
    },
    set: never,
    defineProperty: never,
    deleteProperty: never,
    setPrototypeOf: never,
  });
}
