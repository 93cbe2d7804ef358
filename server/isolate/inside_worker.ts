/**
 * The thread of an isolated plugin: limits itself, imports the plugin, says what plugin it is, sets it up, and answers the server's
 * questions. Its entry is generated and imports this and the plugin by literal specifiers, for those need no permission to read.
 */
import { lookAt } from "../load/shape.ts";
import type { Naming } from "../load/place.ts";
import type { Plugin } from "../plugin.ts";
import { type AnyCall, Asking, textOf } from "./asking.ts";
import { readOptions } from "./given.ts";
import { Inside, Wishes } from "./inside.ts";
import { lockDown } from "./lockdown.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { Objects } from "./objects.ts";

/** What a Worker finds in its global scope; the page's types, which this file is checked with, lack it. */
const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<ToWorker>) => void;
  postMessage(message: FromWorker): void;
  close(): void;
};
// Taken before the plugin runs: what it does to the global scope is no matter of ours.
const post = scope.postMessage.bind(scope);
const end = scope.close.bind(scope);
const { memoryUsage } = Deno;

function memoryUsed(): number {
  const { heapUsed, external } = memoryUsage();
  return heapUsed + external;
}

/** Sends it. @throws {TypeError} when something in it is no data. */
function say(message: FromWorker): void {
  try {
    post(message);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new TypeError(`${subjectOf(message)} can't leave the plugin's thread, only plain data can: ${why}`);
  }
}

function subjectOf(message: FromWorker): string {
  switch (message.kind) {
    case "answers":
      return "its verdict or an edit";
    case "fact":
      return `the fact "${message.fact}"`;
    case "log":
      return `what stands beside "${message.text}" in the log`;
    case "wish":
      return `what is given to host.${message.wish.wish}`;
    default:
      return `this (${message.kind})`;
  }
}

/**
 * Answers the server for one plugin.
 *
 * @param load Imports it.
 * @param href What that imports.
 */
export async function serve(
  load: () => Promise<{ readonly default?: unknown }>,
  naming: Naming,
  href: string,
): Promise<void> {
  const begin = await lockDown(naming, href, () => say({ kind: "exited" }));
  let module: { readonly default?: unknown };
  try {
    module = await load();
  } catch (error) {
    return say({
      kind: "not imported",
      error: textOf(error),
      message: error instanceof Error ? error.message : `${error}`,
    });
  }
  const found = await lookAt(module, naming);
  begin();
  if (!("plugin" in found)) return say({ kind: "no plugin", problem: found.problem });
  const thread = new Thread(found.plugin);
  const failed = (what: string) => (event: Event) => {
    event.preventDefault(); // else it ends this thread
    const error = (event as ErrorEvent).error ?? (event as PromiseRejectionEvent).reason;
    say({ kind: "log", level: "error", text: what, fields: { error: textOf(error) } });
  };
  addEventListener("error", failed("error in a timer"));
  addEventListener("unhandledrejection", failed("error in a floating promise"));
  scope.onmessage = ({ data }) => thread.hear(data);
  const { name, after, roles } = found.plugin;
  say({
    kind: "described",
    plugin: { name, ...(after && { after }), ...(roles && { roles }) },
  });
}

/** The plugin, from its `setup` to its end. */
class Thread {
  readonly #plugin: Plugin;
  readonly #objects = new Objects();
  readonly #wishes = new Wishes(say);
  readonly #calls = new Map<number, AbortController>();
  #inside: Inside | undefined;
  #dispose: (() => unknown) | undefined;

  constructor(plugin: Plugin) {
    this.#plugin = plugin;
  }

  hear(message: ToWorker): void {
    switch (message.kind) {
      case "setup":
        return void this.#setUp(message);
      case "question":
        return void this.#answer(message);
      case "abort":
        return this.#calls.get(message.id)?.abort(new Error("the time is over, or the client has gone"));
      case "result":
        return this.#wishes.fulfil(message.id, message.value);
      case "failed":
        return this.#wishes.fail(message.id, message.error);
      case "ping":
        return say({ kind: "pong", nonce: message.nonce, memory: memoryUsed() });
      case "end":
        return void this.#finish();
    }
  }

  async #setUp(message: ToWorker & { kind: "setup" }): Promise<void> {
    try {
      const options = readOptions(this.#plugin, message);
      if ("problems" in options) return say({ kind: "refused", problems: options.problems });
      const inside = this.#inside = new Inside(message, say, this.#wishes, this.#objects);
      inside.skew = message.now - Date.now();
      inside.registered.named.push(...options.named);
      const { mechanisms = ["PLAIN", "LOGIN"] } = this.#plugin;
      inside.registered.mechanisms.push(
        ...typeof mechanisms === "function" ? mechanisms(options.value as never) : mechanisms,
      );
      const dispose = await this.#plugin.setup(inside.on, options.value as never, inside.host());
      if (typeof dispose === "function") this.#dispose = dispose;
      inside.close();
      say({ kind: "set up", registered: inside.registered });
    } catch (error) {
      say({
        kind: "not set up",
        error: textOf(error),
        message: error instanceof Error ? error.message : `${error}`,
      });
    }
  }

  async #answer({ id, now, dryRun, gone, question }: ToWorker & { kind: "question" }): Promise<void> {
    const controller = new AbortController();
    this.#calls.set(id, controller);
    this.#objects.forget(gone);
    const inside = this.#inside!;
    inside.skew = now - Date.now();
    const call = this.#callOf(controller.signal, dryRun, id);
    const answers = await new Asking(inside, this.#objects, this.#wishes, call, id).ask(question);
    this.#calls.delete(id);
    try {
      say({ kind: "answers", id, answers });
    } catch (error) { // a verdict with a function in it
      say({ kind: "no answer", id, error: textOf(error) });
    }
  }

  /** Only a handler of `connect` sees the type of one that listens, only one of `data` that of one that takes longer. */
  #callOf(signal: AbortSignal, dryRun: boolean, question: number): AnyCall {
    const listen = (ms: number) =>
      this.#wishes.make<"spoke" | "silent">({ wish: "listen", question, ms }, signal);
    return { signal, dryRun, listen, progress: () => say({ kind: "progress", id: question }) };
  }

  async #finish(): Promise<void> {
    try {
      await this.#dispose?.();
    } catch (error) {
      say({ kind: "log", level: "error", text: "failed at its end", fields: { error: textOf(error) } });
    }
    say({ kind: "ended" });
    end();
  }
}
