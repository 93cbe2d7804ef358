/** An isolated plugin as the loader takes it: a plugin like any other, whose code runs in a Worker with the permissions it was given. */
import type { Path } from "../config/problem.ts";
import type { HostServices } from "../host.ts";
import { type Naming, textOf } from "../load/place.ts";
import { look } from "../load/shape.ts";
import type {
  Call,
  Credentials,
  Dns,
  Fact,
  Host,
  Json,
  On,
  Plugin,
  Session,
  Store,
  Transaction,
  Transport,
} from "../plugin.ts";
import { type Behind, IsolatedHandlers } from "./handlers.ts";
import { fieldsOf, isJson, listOf, mailOf, PluginError, registeredOf } from "./heard.ts";
import type {
  Answers,
  FromWorker,
  OptionProblem,
  Question,
  SetUp,
  Submitted,
  ToWorker,
  Wish,
} from "./messages.ts";
import { Refs } from "./refs.ts";
import { type Permissions, PluginWorker } from "./worker.ts";

/** What an isolated plugin is made of. */
export interface IsolatedOptions {
  readonly services: HostServices;
  readonly url: string;
  readonly naming: Naming;
  readonly permissions: Permissions;
  /** The configuration file, which paths in options are relative to. */
  readonly file: string;
  /** `with:`, as it stands there. */
  readonly options: unknown;
  /** Where in them variables stand. */
  readonly written: readonly (readonly [path: string, text: string])[];
  readonly as: string | undefined;
}

/** Its schema refuses the options. */
export class OptionsRefused extends Error {
  constructor(readonly problems: readonly OptionProblem[]) {
    super("the options are refused");
  }
}

/** Milliseconds before a plugin that keeps ending is started again: after the second time, twice as much each time, at most. */
const firstWait = 1000;
const longestWait = 60_000;

/** Milliseconds that a plugin may take to be there again: import and `setup`. */
const longestStart = 60_000;

/** The plugin, from its first Worker to the end of its generation. */
export class Isolated {
  readonly #options: IsolatedOptions;
  readonly #refs = new Refs();
  readonly #tellers = new Map<string, (of: object, value: Json) => void>();
  readonly #reading = new Map<number, Reading>();
  #worker: PluginWorker;
  #starting: Promise<void> | undefined;
  #setUp: { readonly message: ToWorker & { kind: "setup" }; readonly registered: SetUp } | undefined;
  #host: Host | undefined;
  #isOver = false;
  /** How often it has ended by itself in a row, and until when it is left alone for that: monotonic milliseconds. */
  #ends = 0;
  #restsUntil = 0;
  #startedAt = 0;

  /** @throws {Error} when the server itself lacks a permission. */
  constructor(options: IsolatedOptions) {
    this.#options = options;
    this.#worker = this.#start();
  }

  /** What stands in the chain for it. @throws {Error} when it can't be imported, or is none. */
  async plugin(): Promise<Plugin> {
    const { name, after, roles } = await this.#worker.describe();
    for (const list of [after, roles]) if (list) listOf(list);
    const plugin: Plugin = {
      name,
      ...(after && { after }),
      ...(roles && { roles }),
      setup: (on, _options, host) => this.#register(on as On, host),
    };
    const shaped = await look(plugin, this.#options.naming); // the Worker has looked, but is not believed
    if ("problem" in shaped) throw new Error(shaped.problem);
    return plugin;
  }

  /** What it logs people in by, once it is set up. */
  get mechanisms(): readonly Credentials["mechanism"][] {
    return this.#setUp?.registered.mechanisms ?? [];
  }

  /** The transports that its options name, once it is set up. */
  get named(): readonly Transport[] {
    return this.#setUp?.registered.named.map((transport) => ({ transport })) ?? [];
  }

  /** Ends it at once. */
  abandon(): void {
    this.#isOver = true;
    this.#worker.terminate(new Error("it was abandoned"));
  }

  #start(): PluginWorker {
    const { services: { clock }, url, naming, permissions } = this.#options;
    this.#startedAt = clock.monotonic();
    return new PluginWorker({ url, naming, permissions }, {
      wish: (wish, signal) => this.#grant(wish, signal),
      told: (message) => this.#told(message),
      died: (reason) => this.#died(reason),
    });
  }

  #died(reason: string): void {
    const now = this.#options.services.clock.monotonic();
    if (now - this.#startedAt > longestWait) this.#ends = 0;
    this.#ends++;
    const wait = this.#ends === 1 ? 0 : Math.min(firstWait * 2 ** (this.#ends - 2), longestWait);
    this.#restsUntil = now + wait;
    this.#host?.log.error("isolated plugin ended, and is started again when it is needed", {
      reason,
      ...(wait > 0 && { notBefore: `${wait / 1000} s` }),
    });
  }

  async #register(on: On, host: Host) {
    this.#host = host;
    const { options, written, file, as, services: { clock } } = this.#options;
    const message = {
      kind: "setup",
      name: host.name,
      hostname: host.hostname,
      options,
      written,
      file,
      as,
      observed: host.observed,
      queued: host.queued,
      now: clock.now(),
    } as const;
    const registered = await setUp(this.#worker, message);
    this.#setUp = { message, registered };
    const needs = registered.needs.map(({ fact, optional }) => {
      const key: Fact<Json, Session | Transaction> = { fact };
      return [fact, host.needs(key, { optional })] as const;
    });
    for (const fact of registered.provides) {
      this.#tellers.set(fact, host.provides({ fact } as Fact<Json, object>));
    }
    if (registered.owns.length > 0) host.owns(registered.owns);
    const handlers = new IsolatedHandlers(
      (question, call, behind) => this.#ask(question, call, behind),
      this.#refs,
      needs,
      (hook) => registered.hooks.includes(hook),
    );
    for (const { name, inline, batch, timeout } of registered.transports) {
      host.transport(name, handlers.deliver(name), {
        inline,
        batch,
        ...(timeout !== undefined && { timeout }),
      });
    }
    for (const [hook, handler] of Object.entries(handlers.handlers())) {
      on(hook as "connect", handler as never);
    }
    return () => this.#end();
  }

  async #end(): Promise<void> {
    this.#isOver = true;
    // One that is only starting has nothing to end, and may start for ever.
    if (this.#starting) this.#worker.terminate(new Error("the plugin has ended"));
    await this.#starting?.catch(() => {});
    await this.#worker.end();
  }

  async #ask(question: Question, call: Call | undefined, behind: Behind | undefined): Promise<Answers> {
    if (this.#worker.isOver) {
      await (this.#starting ??= this.#again().finally(() => this.#starting = undefined));
    }
    const { id, answers } = this.#worker.ask(
      question,
      call?.signal,
      call?.dryRun ?? false,
      this.#refs.takeGone(),
      this.#options.services.clock.now(),
    );
    if (!behind) return await answers;
    this.#reading.set(id, new Reading(behind));
    try {
      return await answers;
    } finally {
      this.#reading.delete(id);
    }
  }

  /** Another Worker, in the place of one that has ended. */
  async #again(): Promise<void> {
    try {
      if (this.#isOver || !this.#setUp) throw new Error("the plugin has ended");
      const left = this.#restsUntil - this.#options.services.clock.monotonic();
      if (left > 0) {
        throw new Error(
          `it keeps ending, and is started again in ${Math.ceil(left / 1000)} s at the earliest`,
        );
      }
      this.#worker = this.#start();
      const registered = await this.#inTime(this.#setUpAgain(this.#worker, this.#setUp.message));
      if (JSON.stringify(registered) !== JSON.stringify(this.#setUp.registered)) {
        throw new Error("its setup has registered other things than before");
      }
    } catch (error) {
      if (!this.#worker.isOver) {
        this.#worker.terminate(error instanceof Error ? error : new Error(textOf(error)));
        this.#died(textOf(error));
      }
      throw error;
    }
  }

  async #setUpAgain(worker: PluginWorker, message: ToWorker & { kind: "setup" }): Promise<SetUp> {
    await worker.describe();
    return await setUp(worker, { ...message, now: this.#options.services.clock.now() });
  }

  /** The loader has waited no longer; without an end nobody would ever start it again. */
  async #inTime<T>(starting: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>();
    const cancel = this.#options.services.clock.after(
      longestStart,
      () => late.reject(new Error(`it was not set up within ${longestStart / 1000} s`)),
    );
    try {
      return await Promise.race([starting, late.promise]);
    } finally {
      cancel();
    }
  }

  #told(message: FromWorker & { kind: "fact" | "log" | "progress" }): void {
    if (message.kind === "progress") return this.#reading.get(message.id)?.behind.progress?.();
    if (message.kind === "log") {
      const { level, text, fields } = message;
      if (["debug", "info", "warning", "error"].includes(level)) {
        this.#host?.log[level](String(text), fieldsOf(fields));
      }
      return;
    }
    const of = this.#refs.object(message.of);
    if (of) this.#tellers.get(message.fact)?.(of, message.value);
  }

  #grant(wish: Wish, signal: AbortSignal): Promise<unknown> {
    const { services: { clock, dns, submit } } = this.#options;
    const host = this.#host!;
    switch (wish.wish) {
      case "store":
      case "cache":
        return callStore(host[wish.wish], wish.method, wish.args);
      case "dns":
        return askDns(dns, wish.method, wish.args, signal);
      case "sleep":
        return clock.sleep(Number(wish.ms) || 0, signal);
      case "submit":
        return submitted(submit, mailOf(wish), wish.hearsRefused === true);
      case "listen": {
        const listen = this.#reading.get(wish.question)?.behind.listen;
        return listen ? listen(Number(wish.ms) || 0) : Promise.reject(new Error("only connect can listen"));
      }
      case "read": {
        const reading = this.#reading.get(wish.question);
        return reading
          ? reading.read(wish.which === "received" ? "received" : "now", Number(wish.offset) || 0)
          : Promise.reject(new Error("the hook has returned"));
      }
      default:
        return Promise.reject(new TypeError("nobody grants that"));
    }
  }
}

/** Sets a plugin up in its Worker. @throws what it has thrown, and what its options lack. */
async function setUp(worker: PluginWorker, message: ToWorker & { kind: "setup" }): Promise<SetUp> {
  const said = await worker.setUp(message);
  if (said.kind === "set up") return registeredOf(said.registered);
  if (said.kind === "refused") throw new OptionsRefused(listOf(said.problems));
  if (said.kind === "not set up") throw new PluginError(said.message, said.error);
  throw new Error(`it answered ${said.kind}`);
}

async function submitted(
  submit: HostServices["submit"],
  mail: ReturnType<typeof mailOf>,
  hearsRefused: boolean,
): Promise<Submitted> {
  const list: Submitted["refused"][number][] = [];
  const refused = (...one: (typeof list)[number]) => void list.push(one);
  try {
    const { id } = await submit({ ...mail, ...(hearsRefused && { refused }) });
    return { id, error: undefined, refused: list };
  } catch (error) {
    return { id: undefined, error: textOf(error), refused: list };
  }
}

/** How many values one entry of a store may be made of. */
const mostStored = 100_000;
const storeMethods = ["get", "set", "getOrSet", "increment", "delete"] satisfies (keyof Store)[];
const dnsMethods = ["a", "txt", "mx", "ptr", "query"] satisfies (keyof Dns)[];

async function callStore(store: Store, method: string, args: readonly unknown[]): Promise<unknown> {
  const known = storeMethods.find((one) => one === method);
  if (!known) throw new TypeError(`a store has no ${method}`);
  if (!isJson(args, mostStored)) {
    throw new TypeError(`store.${method}: only plain data, and not endless, can be stored`);
  }
  return await (store[known] as (...args: readonly unknown[]) => Promise<unknown>)(...args);
}

async function askDns(
  dns: Dns,
  method: string,
  args: readonly unknown[],
  signal: AbortSignal,
): Promise<unknown> {
  const known = dnsMethods.find((one) => one === method);
  if (!known) throw new TypeError(`the DNS has no ${method}`);
  return await (dns[known] as (...args: readonly unknown[]) => Promise<unknown>)(...args, signal);
}

/** What stands behind a question; its message is read on, piece after piece. */
class Reading {
  readonly behind: Behind;
  #which: "now" | "received" | undefined;
  #offset = 0;
  #pieces: AsyncIterator<Uint8Array<ArrayBuffer>> | undefined;

  constructor(behind: Behind) {
    this.behind = behind;
  }

  async read(which: "now" | "received", offset: number): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.#pieces || this.#which !== which || this.#offset > offset) {
      await this.#pieces?.return?.();
      const message = this.behind[which] ?? this.behind.now;
      if (!message) throw new TypeError("there is no message yet");
      this.#pieces = message.stream()[Symbol.asyncIterator]();
      this.#which = which;
      this.#offset = 0;
    }
    for (;;) {
      const { value, done } = await this.#pieces.next();
      if (done) return new Uint8Array();
      const start = this.#offset;
      this.#offset += value.length;
      if (this.#offset > offset) return value.subarray(Math.max(0, offset - start));
    }
  }
}

/** Where an option's problem is in the real file. */
export function pathInFile({ path }: OptionProblem, index: number): Path {
  return ["plugins", index, ...path.filter((step) => typeof step === "string" || typeof step === "number")];
}
