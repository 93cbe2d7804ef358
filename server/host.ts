/**
 * The host: what the server does for one instance of a plugin (`Host` of plugin.ts), and what that instance has
 * registered with it. Setting up is over when `setup` has settled; from then on nothing can be registered.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "./clock.ts";
import type { Instance, Offer, ProxyTransport, RegisteredTransport } from "./generation.ts";
import type { Field, Log } from "./log.ts";
import type {
  Deliver,
  Dispose,
  Dns,
  Fact,
  Host,
  Json,
  ProxyRoute,
  RelayRoute,
  Session,
  Store,
} from "./plugin.ts";
import { parseDomain } from "./smtp/address.ts";
import type { Stores } from "./store.ts";

/** What hosts are made of: the server's edges. */
export interface HostServices {
  readonly clock: Clock;
  readonly log: Log;
  /** Durable. */
  readonly store: Pick<Stores, "for">;
  /** In memory; kept over a reload. */
  readonly cache: Pick<Stores, "for">;
  readonly dns: Dns;
  /** The server's state directory, absolute; instances get `plugins/<name>` in it. */
  readonly state: string;
  submit: Host["submit"];
  readonly verify: Host["verify"];
  readonly queue: Host["queue"];
  readonly history: Host["history"];
}

/** What plugins of one generation have told each other, by name of the fact; kept as long as what it is about. */
export class Facts {
  readonly #told = new WeakMap<object, Map<string, Json>>();
  /** Hears of each; set by who explains. */
  onTold: ((name: string, value: Json, plugin: string) => void) | undefined;

  /** Keeps a fact about a session or a transaction; the last word counts. */
  tell(about: object, name: string, value: Json, plugin: string): void {
    this.onTold?.(name, value, plugin);
    const facts = this.#told.get(about);
    if (facts) facts.set(name, value);
    else this.#told.set(about, new Map([[name, value]]));
  }

  /** What was told; `undefined` where nothing was. */
  read(about: object, name: string): Json | undefined {
    return this.#told.get(about)?.get(name);
  }

  /** Everything that was told about it, for the trace and the log. */
  about(about: object): ReadonlyMap<string, Json> {
    return this.#told.get(about) ?? none;
  }
}

const none: ReadonlyMap<string, Json> = new Map();

/** A fact that an instance reads. */
export interface Need {
  readonly fact: string;
  readonly optional: boolean;
}

/** Names of instances, transports and facts: they stand in configurations, log lines, file names and headers. */
export const properName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** What an instance has registered during its `setup`. */
export class Registered {
  readonly instance: Instance;
  /** `as:` of the configuration. */
  readonly #as: string | undefined;
  readonly domains = new Set<string>();
  readonly transports: RegisteredTransport[] = [];
  readonly runs: (() => Dispose | Promise<Dispose>)[] = [];
  readonly offers: Offer[] = [];
  readonly provided = new Set<string>();
  readonly needed: Need[] = [];
  /** What the plugin warned of while it was set up: an operator wants to read that in `check`. */
  readonly warnings: string[] = [];
  #over = false;

  constructor(instance: Instance, as?: string) {
    this.instance = instance;
    this.#as = as;
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** Called when `setup` has settled. */
  close(): void {
    this.#over = true;
  }

  /** @throws {Error} once `setup` is over: what is registered later, no check has seen. */
  demandSetup(what: string): void {
    if (this.#over) throw new Error(`${what} works only during setup of plugin ${this.instance.name}`);
  }

  /** The name an instance's transport gets: `as:` names the first; the others are told apart by their own names. */
  transportName(name: string): string {
    if (this.#as === undefined) return name;
    return this.transports.length === 0 ? this.#as : `${this.#as}.${name}`;
  }
}

/**
 * Makes the host of one instance.
 *
 * @param registered Where it notes what the plugin registers; its instance's name is the host's.
 * @param facts Those of the generation.
 * @param hostname The server's.
 */
export function makeHost(
  registered: Registered,
  services: HostServices,
  facts: Facts,
  hostname: string,
): Host {
  const { name, observe, when } = registered.instance;
  const { clock } = services;
  // Each is made when it is first asked for: most plugins want none of them.
  let store: Store | undefined, cache: Store | undefined, state: string | undefined;
  return {
    name,
    hostname,
    observed: observe,
    queued: when === "queued",
    clock: { now: () => clock.now(), sleep: (ms, signal) => clock.sleep(ms, signal) },
    log: makeLog(registered, services.log.with({ plugin: name })),
    dns: services.dns,
    get store() {
      return store ??= services.store.for(name);
    },
    get cache() {
      return cache ??= services.cache.for(name);
    },
    get state() {
      return state ??= makeDirectory(join(services.state, "plugins", name));
    },
    submit: (mail) => services.submit(mail),
    verify: (address, how) => services.verify(address, how),
    queue: { retry: (domain, how) => services.queue.retry(domain, how) },
    history: { after: (place, limit) => services.history.after(place, limit) },
    runs: (begin) => addRuns(registered, begin),
    offers: (extension, to) => offer(registered, extension, to),
    owns: (domains) => own(registered, domains),
    transport: (name, deliver, how = {}) => addTransport(registered, name, deliver, how),
    relay: (name, route) => addRelay(registered, name, route),
    proxy: (name, route, how = {}) => addProxy(registered, name, route, how),
    notes: makeNotes,
    provides<T extends Json, S extends object>({ fact }: Fact<T, S>) {
      registered.demandSetup("provides()");
      registered.provided.add(fact);
      // What an observed plugin says must change nothing.
      return observe ? () => {} : (of: S, value: T) => facts.tell(of, fact, value, name);
    },
    needs<T extends Json, S extends object>({ fact }: Fact<T, S>, how: { optional?: boolean } = {}) {
      registered.demandSetup("needs()");
      registered.needed.push({ fact, optional: how.optional ?? false });
      // The fact's type is a promise of whoever provides it under this name.
      return (of: S) => facts.read(of, fact) as T | undefined;
    },
  };
}

/** Private state by object identity: handlers are given the same object from hook to hook. */
function makeNotes<S extends object, T extends object>(make: (of: S) => T): (of: S) => T {
  const kept = new WeakMap<S, T>();
  return (of) => {
    let notes = kept.get(of);
    if (notes === undefined) kept.set(of, notes = make(of));
    return notes;
  };
}

/** Keywords the server itself answers for, besides its verbs. */
const ownKeywords = new Set(
  "PIPELINING SIZE 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES CHUNKING DSN STARTTLS AUTH HELP BINARYMIME".split(
    " ",
  ),
);

function offer(registered: Registered, extension: string, to: (session: Session) => boolean): void {
  registered.demandSetup("offers()");
  const [keyword = ""] = extension.split(" ", 1);
  // RFC 5321 §4.1.1.1: ehlo-line, with verbs as they are compared, in upper case.
  if (!/^[A-Z0-9][A-Z0-9-]*(?: [\x21-\x7e]+)*$/.test(extension) || extension.length > 400) {
    throw new TypeError(
      `offers("${extension}"): a keyword in upper case, perhaps with parameters, such as XFLUSH`,
    );
  }
  if (ownKeywords.has(keyword)) throw new TypeError(`offers("${keyword}"): the server offers that itself`);
  if (typeof to !== "function") throw new TypeError(`offers("${keyword}") has no function that says to whom`);
  if (!registered.instance.observe) registered.offers.push({ by: registered.instance, extension, to });
}

function addRuns(registered: Registered, begin: () => Dispose | Promise<Dispose>): void {
  registered.demandSetup("runs()");
  if (typeof begin !== "function") throw new TypeError("runs() has no function that begins something");
  if (!registered.instance.observe) registered.runs.push(begin);
}

function own(registered: Registered, domains: readonly string[]): void {
  registered.demandSetup("owns()");
  for (const text of domains) {
    const domain = parseDomain(text);
    if (domain === undefined) throw new TypeError(`owns("${text}"): that is not a domain`);
    // An observed plugin's say in what is unknown here would be more than a record.
    if (!registered.instance.observe) registered.domains.add(domain);
  }
}

function addTransport(
  registered: Registered,
  asked: string,
  deliver: Deliver,
  { inline = false, batch = 1, timeout }: { inline?: boolean; batch?: number; timeout?: number },
) {
  registered.demandSetup("transport()");
  demandName(asked);
  if (typeof deliver !== "function") {
    throw new TypeError(`transport "${asked}" has no function that delivers`);
  }
  if (!Number.isInteger(batch) || batch < 1) {
    throw new TypeError(`transport "${asked}" has batch ${batch}: it is a number of recipients, 1 or more`);
  }
  if (timeout !== undefined && !(Number.isFinite(timeout) && timeout > 0)) {
    throw new TypeError(`transport "${asked}" has timeout ${timeout}: it is a number of milliseconds`);
  }
  const name = registered.transportName(asked);
  const limited = timeout === undefined ? {} : { timeout };
  registered.transports.push({ name, by: registered.instance, deliver, inline, batch, ...limited });
  return { transport: name };
}

function addRelay(registered: Registered, asked: string, route: RelayRoute) {
  registered.demandSetup("relay()");
  demandName(asked);
  if (typeof route !== "function") {
    throw new TypeError(`relay "${asked}" has no function that says where mail goes`);
  }
  const name = registered.transportName(asked);
  registered.transports.push({ name, by: registered.instance, route });
  return { transport: name };
}

function addProxy(
  registered: Registered,
  asked: string,
  hopsOf: ProxyRoute,
  { xclient = false, xforward = false }: { xclient?: boolean; xforward?: boolean },
) {
  registered.demandSetup("proxy()");
  demandName(asked);
  if (typeof hopsOf !== "function") {
    throw new TypeError(`proxy "${asked}" has no function that says where mail goes`);
  }
  const name = registered.transportName(asked);
  const route: RelayRoute = (recipient, _message, call) => hopsOf(recipient, call);
  const transport: ProxyTransport = {
    name,
    by: registered.instance,
    route,
    hopsOf,
    proxy: { xclient, xforward },
  };
  registered.transports.push(transport);
  return { transport: name };
}

function demandName(asked: string): void {
  if (properName.test(asked)) return;
  throw new TypeError(`"${asked}" is no name for a transport: letters, digits, . _ - only`);
}

function makeDirectory(path: string): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}

function makeLog(registered: Registered, log: Log): Host["log"] {
  const at =
    (level: "debug" | "info" | "warning" | "error") => (text: string, fields: Record<string, Json> = {}) => {
      const flat = Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, toField(value)]));
      if (level === "warning" && !registered.isOver) registered.warnings.push(inWords(text, flat));
      log[level](text, flat);
    };
  return { debug: at("debug"), info: at("info"), warning: at("warning"), error: at("error") };
}

/** A line of the log is flat: what is nested is written as JSON. */
function toField(value: Json): Field {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value;
  return JSON.stringify(value);
}

function inWords(text: string, fields: Record<string, Field>): string {
  const words = Object.entries(fields).map(([key, value]) => `${key} ${value}`);
  return words.length === 0 ? text : `${text} (${words.join(", ")})`;
}
