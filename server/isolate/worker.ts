/** An isolated plugin's Worker, as the server holds it: questions and answers, its end at a time-out, its new beginning. */
import { systemClock } from "../clock.ts";
import { linkOf, type Naming } from "../load/place.ts";
import { isJson, PluginError } from "./heard.ts";
import type { Answers, Described, FromWorker, Question, Ref, ToWorker, Wish } from "./messages.ts";

/** Deno's permissions for a Worker; what is not there is not granted. */
export interface Permissions {
  readonly net?: boolean | readonly string[] | undefined;
  readonly read?: boolean | readonly string[] | undefined;
  readonly write?: boolean | readonly string[] | undefined;
  readonly env?: boolean | readonly string[] | undefined;
  readonly run?: boolean | readonly string[] | undefined;
  readonly sys?: boolean | readonly string[] | undefined;
}

/** As long as a plugin is asked something, it is looked so often, in milliseconds, whether it blocks. */
const interval = 250;

/** A plugin that has given no sign of life when this thread has looked so often blocks: so a stall of this one is not held against it. */
const patientLooks = 4;

/** Octets of memory that a Worker may use. It shares the process's: what fills that ends the server. */
const mostMemory = 512 * 1024 ** 2;

/** Milliseconds a plugin's end may take. */
const patience = 5_000;

/** A thread's signs of life come in its own time, whatever time it is for mail. */
const life = systemClock;

/** What a Worker needs of its surroundings. */
export interface Surroundings {
  /** The plugin's module, as this generation has it. */
  readonly url: string;
  readonly naming: Naming;
  readonly permissions: Permissions;
}

/** Who is told of what the Worker says by itself. */
export interface Listener {
  wish(wish: Wish, signal: AbortSignal): Promise<unknown>;
  told(message: FromWorker & { kind: "fact" | "log" | "progress" }): void;
  /** It is gone, for this reason, without having been told to end. */
  died(reason: string): void;
}

type Waiting = PromiseWithResolvers<Answers>;

/** One Worker, from its start to its end. */
export class PluginWorker {
  readonly #worker: Worker;
  readonly #listener: Listener;
  readonly #questions = new Map<number, Waiting>();
  readonly #wishes = new Map<number, AbortController>();
  readonly #described = Promise.withResolvers<Described>();
  #beginning: PromiseWithResolvers<FromWorker> | undefined;
  #ended: (() => void) | undefined;
  /** When it was asked for a sign of life that hasn't come yet, and what the process used of memory then. */
  #silence: { looks: number; readonly nonce: number; readonly rss: number } | undefined;
  #cancelWatch: (() => void) | undefined;
  /** What was asked, and is nobody's question any more. */
  readonly #late = new Set<number>();
  #last = 0;
  #isOver = false;

  /** @throws {Error} when the server itself lacks a permission. */
  constructor({ url, naming, permissions }: Surroundings, listener: Listener) {
    this.#listener = listener;
    const none = {
      env: false,
      ffi: false,
      import: false,
      net: false,
      read: false,
      run: false,
      sys: false,
      write: false,
    };
    const listed = Object.entries(permissions).filter(([, what]) => what !== undefined); // undefined would inherit
    const link = linkOf(url, naming);
    const granted = {
      ...none,
      ...Object.fromEntries(
        listed.map(([name, what]) => [name, /^(read|write)$/.test(name) ? through(link, what) : what]),
      ),
    };
    const options = { type: "module", name: naming.use, deno: { permissions: granted } };
    this.#worker = new Worker(entry(url, naming), options as WorkerOptions);
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      try {
        this.#heard(data);
      } catch (error) { // the plugin can send what it likes
        this.#die(`it sends what is no message: ${error instanceof Error ? error.message : error}`);
      }
    };
    this.#worker.onmessageerror = () => this.#die("it sends what can't be read");
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#die(event.message);
    };
    this.#described.promise.catch(() => {});
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** What the plugin says of itself. @throws {Error} when it can't be imported, or is none. */
  describe(): Promise<Described> {
    return this.#described.promise;
  }

  /** Sets the plugin up; answers what it has said to that. */
  setUp(message: ToWorker & { kind: "setup" }): Promise<FromWorker> {
    this.#beginning = Promise.withResolvers();
    if (this.#isOver) this.#beginning.reject(new Error("the plugin has ended"));
    this.#post(message);
    return this.#beginning.promise;
  }

  /** Asks. @param signal Once it aborts, the plugin that doesn't show a sign of life is ended. */
  ask(
    question: Question,
    signal: AbortSignal | undefined,
    dryRun: boolean,
    gone: readonly Ref[],
    now: number,
  ): { id: number; answers: Promise<Answers> } {
    const id = ++this.#last;
    const waiting = Promise.withResolvers<Answers>();
    this.#questions.set(id, waiting);
    this.#post({ kind: "question", id, now, dryRun, gone, question });
    if (signal?.aborted) this.#abort(id);
    else signal?.addEventListener("abort", () => this.#abort(id), { once: true });
    this.#watch();
    return { id, answers: waiting.promise };
  }

  /** Lets the plugin end what it has opened; ends it if it doesn't. */
  async end(): Promise<void> {
    if (this.#isOver) return;
    const ended = Promise.withResolvers<void>();
    this.#ended = ended.resolve;
    this.#post({ kind: "end" });
    const cancel = life.after(patience, ended.resolve);
    await ended.promise;
    cancel();
    this.terminate(new Error("the plugin has ended"));
  }

  /** Ends it now; what it was asked fails for this reason. */
  terminate(error: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#worker.terminate();
    this.#cancelWatch?.();
    this.#described.reject(error);
    this.#beginning?.reject(error);
    for (const { promise, reject } of this.#questions.values()) {
      promise.catch(() => {});
      reject(error);
    }
    this.#questions.clear();
    for (const wish of this.#wishes.values()) wish.abort(error);
    this.#ended?.();
  }

  #die(reason: string): void {
    if (this.#isOver) return;
    this.terminate(new Error(reason));
    this.#listener.died(reason);
  }

  #post(message: ToWorker): void {
    if (!this.#isOver) this.#worker.postMessage(message);
  }

  #abort(id: number): void {
    if (!this.#questions.has(id)) return;
    this.#post({ kind: "abort", id });
    this.#late.add(id);
    if (!this.#silence) this.#ping();
  }

  /** As long as something is asked: so that it is known at a time-out whether the plugin waits or blocks. */
  #watch(): void {
    this.#cancelWatch ??= life.after(interval, () => {
      this.#cancelWatch = undefined;
      this.#judge();
      if (this.#questions.size > 0 && !this.#isOver) this.#watch();
    });
  }

  #judge(): void {
    if (!this.#silence) return this.#ping();
    if (++this.#silence.looks < patientLooks) return;
    if (this.#late.size > 0) return this.#die("it blocks: it was ended at its time-out");
    const more = Deno.memoryUsage().rss - this.#silence.rss;
    if (more > mostMemory) this.#die("it blocks, and takes more and more memory");
  }

  #ping(): void {
    const nonce = Math.random(); // what blocks could say it, but can't read it
    this.#silence = { looks: 0, nonce, rss: Deno.memoryUsage().rss };
    this.#post({ kind: "ping", nonce });
  }

  #heard(message: FromWorker): void {
    switch (message.kind) {
      case "described":
        return this.#described.resolve(message.plugin);
      case "no plugin":
        return this.terminate(new Error(String(message.problem)));
      case "not imported":
        return this.terminate(new PluginError(String(message.message), String(message.error)));
      case "set up":
      case "refused":
      case "not set up":
        return this.#beginning?.resolve(message);
      case "answers": {
        this.#questions.get(message.id)?.resolve(message.answers);
        this.#questions.delete(message.id);
        return;
      }
      case "no answer": {
        const text = String(message.error);
        this.#questions.get(message.id)?.reject(new PluginError(text.split("\n", 1)[0]!, text));
        this.#questions.delete(message.id);
        return;
      }
      case "wish":
        return void this.#grant(message.id, message.wish);
      case "unwish":
        return this.#wishes.get(message.id)?.abort(new Error("nobody waits for it any more"));
      case "fact":
        if (!isJson(message.value)) throw new TypeError(`the fact ${message.fact} isn't JSON`);
        return this.#listener.told(message);
      case "log":
      case "progress":
        return this.#listener.told(message);
      case "pong":
        return this.#lives(message);
      case "exited":
        return this.#die("it has ended itself");
      case "ended":
        return this.#ended?.();
      default:
        throw new TypeError(`it is ${String((message as { kind?: unknown }).kind)}`);
    }
  }

  /** It does not block: what it is late with, nobody waits for any more. */
  #lives({ nonce, memory }: FromWorker & { kind: "pong" }): void {
    if (nonce !== this.#silence?.nonce) return;
    this.#silence = undefined;
    if (!(memory <= mostMemory)) {
      return this.#die(`it uses more than ${mostMemory / 1024 ** 2} MiB of memory`);
    }
    for (const id of this.#late) {
      this.#questions.get(id)?.reject(new Error("the time is over, or the client has gone"));
      this.#questions.delete(id);
    }
    this.#late.clear();
  }

  async #grant(id: number, wish: Wish): Promise<void> {
    const controller = new AbortController();
    this.#wishes.set(id, controller);
    try {
      this.#post({ kind: "result", id, value: await this.#listener.wish(wish, controller.signal) });
    } catch (error) {
      this.#post({ kind: "failed", id, error: error instanceof Error ? error.message : String(error) });
    } finally {
      this.#wishes.delete(id);
    }
  }
}

/** A plugin finds the files beside it by `import.meta.url`, which leads through the link. */
function through(link: string, granted: Permissions["read"]): Permissions["read"] {
  if (link === "" || typeof granted !== "object") return granted;
  return granted.flatMap((path) => [path, `${link}${path}`]);
}

const inside = new URL("./inside_worker.ts", import.meta.url);

/** A module of literals: a Worker without permission to read may import what such say, and nothing else. */
function entry(url: string, naming: Naming): string {
  const code = `import { serve } from ${JSON.stringify(inside.href)};
serve(() => import(${JSON.stringify(url)}), ${JSON.stringify(naming)}, ${JSON.stringify(url)});`;
  return `data:text/javascript,${encodeURIComponent(code)}`;
}
