/** In the Worker: what an isolated plugin's `setup` is given, and what it has registered. */
import { readDuration } from "../options.ts";
import type {
  Deliver,
  Fact,
  Hooks,
  Host,
  Json,
  On,
  Recipient,
  Session,
  Store,
  Transaction,
} from "../plugin.ts";
import { hookNames } from "../generation.ts";
import type { FromWorker, Ref, SetUp, Submitted, ToWorker, Wish } from "./messages.ts";

/** Says something to the server. */
export type Say = (message: FromWorker) => void;

/** Hooks that hand a message to the plugin for good, or need the server's own client: not for a Worker that may be ended. */
const refusedHooks: readonly string[] = ["queue"];

/** Wishes that are under way. */
export class Wishes {
  readonly #open = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #say: Say;
  #last = 0;

  constructor(say: Say) {
    this.#say = say;
  }

  make<T>(wish: Wish, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = ++this.#last;
    const deferred = Promise.withResolvers<unknown>();
    this.#open.set(id, deferred);
    try {
      this.#say({ kind: "wish", id, wish });
    } catch (error) { // what can't be cloned: a function in a value
      this.#open.delete(id);
      return Promise.reject(error);
    }
    signal?.addEventListener("abort", () => {
      if (!this.#open.delete(id)) return;
      this.#say({ kind: "unwish", id });
      deferred.reject(signal.reason);
    }, { once: true });
    return deferred.promise as Promise<T>;
  }

  fulfil(id: number, value: unknown): void {
    this.#take(id)?.resolve(value);
  }

  fail(id: number, error: string): void {
    this.#take(id)?.reject(new Error(error));
  }

  #take(id: number): PromiseWithResolvers<unknown> | undefined {
    const deferred = this.#open.get(id);
    this.#open.delete(id);
    return deferred;
  }
}

/** What is known of the objects that handlers see. */
export interface Known {
  /** Who an object is. */
  ref(of: object): Ref | undefined;
  /** What plugins above have told of it. */
  told(of: object): Map<string, Json> | undefined;
}

/** What the plugin has registered, and its host. */
export class Inside {
  readonly handlers: { [K in keyof Hooks]?: Hooks[K] } = {};
  readonly delivers = new Map<string, Deliver>();
  readonly registered: { [K in keyof SetUp]: SetUp[K][number][] } = {
    hooks: [],
    owns: [],
    transports: [],
    provides: [],
    needs: [],
    mechanisms: [],
    named: [],
  };
  /** Between the server's clock and this one. */
  skew = 0;
  #isOver = false;

  constructor(
    readonly about: Pick<ToWorker & { kind: "setup" }, "name" | "hostname" | "as" | "observed" | "queued">,
    readonly say: Say,
    readonly wishes: Wishes,
    readonly known: Known,
  ) {}

  close(): void {
    this.#isOver = true;
  }

  #demandSetup(what: string): void {
    if (this.#isOver) throw new Error(`${what} works only during setup of plugin ${this.about.name}`);
  }

  readonly on: On = (hook, handler) => {
    this.#demandSetup(`on("${hook}", …)`);
    if (!hookNames.includes(hook)) throw new TypeError(`there is no hook "${hook}"`);
    if (typeof handler !== "function") throw new TypeError(`the handler of "${hook}" is no function`);
    if (refusedHooks.includes(hook)) {
      throw new TypeError(`an isolated plugin can't have the hook "${hook}": use it without isolate`);
    }
    if (this.handlers[hook]) {
      throw new TypeError(`the hook "${hook}" is registered twice: make one handler of both`);
    }
    this.handlers[hook] = handler;
    this.registered.hooks.push(hook);
  };

  host(): Host {
    const refuse = (what: string): never => {
      throw new TypeError(`an isolated plugin can't have ${what}: use it without isolate`);
    };
    const { wishes, registered, known, about: { name, hostname, as, observed, queued } } = this;
    const ask = (method: string) => <T>(name: string, signal?: AbortSignal) =>
      wishes.make<T>({ wish: "dns", method, args: [name] }, signal);
    return {
      name,
      hostname,
      observed,
      queued,
      clock: {
        now: () => Date.now() + this.skew,
        sleep: (ms, signal) => wishes.make<void>({ wish: "sleep", ms }, signal),
      },
      log: this.#log(),
      store: this.#store("store"),
      cache: this.#store("cache"),
      dns: {
        a: ask("a"),
        txt: ask("txt"),
        mx: ask("mx"),
        ptr: ask("ptr"),
        query: (name, type, signal) =>
          wishes.make({ wish: "dns", method: "query", args: [name, type] }, signal),
      },
      get state(): string {
        return refuse("a directory of its own");
      },
      get queue(): never {
        return refuse("the queue");
      },
      get history(): never {
        return refuse("the history of mail");
      },
      runs: () => refuse("something that runs besides its handlers"),
      offers: () => refuse("keywords of its own in EHLO"),
      relay: () => refuse("a relay"),
      proxy: () => refuse("a proxy"),
      verify: () => refuse("other servers asked"), // whatever host it names: no permission would hold
      owns: (domains) => {
        this.#demandSetup("owns()");
        registered.owns.push(...domains);
      },
      transport: (name, deliver, { inline = false, batch = 1, timeout } = {}) => {
        this.#demandSetup("transport()");
        const isFirst = registered.transports.length === 0;
        registered.transports.push({ name, inline, batch, timeout });
        this.delivers.set(name, deliver);
        return { transport: as === undefined ? name : isFirst ? as : `${as}.${name}` };
      },
      submit: async ({ sender, recipients, content, refused }) => {
        const whole = content instanceof ReadableStream ? await new Response(content).bytes() : content;
        const hearsRefused = refused !== undefined;
        const wish = { wish: "submit", sender, recipients, content: whole, hearsRefused } as const;
        const submitted = await wishes.make<Submitted>(wish);
        for (const [recipient, why] of submitted.refused) refused?.(recipient, why);
        if (submitted.id === undefined) throw new Error(submitted.error);
        return { id: submitted.id };
      },
      notes: makeNotes,
      provides: <T extends Json, S extends object>({ fact }: Fact<T, S>) => {
        this.#demandSetup("provides()");
        registered.provides.push(fact);
        return (of: S, value: T) => {
          const ref = known.ref(of);
          if (ref !== undefined) this.say({ kind: "fact", of: ref, fact, value });
        };
      },
      needs: <T extends Json, S extends object>({ fact }: Fact<T, S>, { optional = false } = {}) => {
        this.#demandSetup("needs()");
        registered.needs.push({ fact, optional });
        return (of: S) => known.told(of)?.get(fact) as T | undefined;
      },
    };
  }

  #log(): Host["log"] {
    const at = (level: keyof Host["log"]) => (text: string, fields: Record<string, Json> = {}) =>
      this.say({ kind: "log", level, text, fields });
    return { debug: at("debug"), info: at("info"), warning: at("warning"), error: at("error") };
  }

  #store(which: "store" | "cache"): Store {
    const make = <T>(method: string, ...args: unknown[]) =>
      this.wishes.make<T>({ wish: which, method, args });
    const checked = ({ ttl }: { ttl: string }) => {
      if (readDuration(ttl) === undefined) throw new TypeError(`"${ttl}" is no ttl`);
      return { ttl };
    };
    return {
      get: (key) => make("get", key),
      set: (key, value, how) => make("set", key, value, checked(how)),
      getOrSet: (key, value, how) => make("getOrSet", key, value, checked(how)),
      increment: (key, by, how) => make("increment", key, by, checked(how)),
      delete: (key) => make("delete", key),
    };
  }
}

function makeNotes<S extends Session | Transaction | Recipient, T extends object>(
  make: (of: S) => T,
): (of: S) => T {
  const kept = new WeakMap<S, T>();
  return (of) => {
    let notes = kept.get(of);
    if (notes === undefined) kept.set(of, notes = make(of));
    return notes;
  };
}
