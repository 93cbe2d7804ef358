/**
 * Asks plugins in the configuration's order. A plugin that throws, answers late or answers nonsense becomes a temporary
 * refusal (promise 3): never a yes, never a permanent no, and never the end of the process.
 */
import type { Clock } from "./clock.ts";
import type { Generation, Instance } from "./generation.ts";
import type { Log } from "./log.ts";
import type { Accept, DataCall, Editable, Hooks, Objection, Session, Verdict } from "./plugin.ts";
import { MalformedVerdict, readVerdict } from "./ruling.ts";

/** Hooks that are asked, and whose answer counts. */
export type AskedHook = Exclude<keyof Hooks, ReportHook>;
/** Hooks that are only told. */
export type ReportHook = "disconnect" | "rejected" | "delivered" | "deferred" | "bounced";

/** What came of asking. */
export type Ruling =
  /** Nobody spoke; `unsure` when a plugin failed and was passed over, so that a no may be wrong. */
  | { readonly kind: "silence"; readonly unsure: boolean }
  | { readonly kind: "objection"; readonly by: string; readonly verdict: Objection }
  /** `unsure` as above: of a claim that could have been another's. */
  | {
    readonly kind: "claim";
    readonly by: Instance;
    readonly claim: Accept["claim"];
    readonly unsure?: boolean;
  }
  /** The plugin failed. */
  | { readonly kind: "failure"; readonly by: string };

/** What one plugin made of its turn. */
export interface Heard {
  readonly hook: AskedHook;
  readonly plugin: string;
  /** `nothing`: no opinion; told only where an observed plugin has edited, and where all is to be heard. */
  readonly said: Verdict | "failed" | "nothing";
  /** Recorded only (`observe: true`). */
  readonly observed: boolean;
  /** The address it was about, where it was about one. */
  readonly about?: string;
  /** What it edited, of observed plugins and where all is to be heard. */
  readonly edits?: readonly string[];
  /** Why it failed. */
  readonly why?: string;
  /** Milliseconds, where all is to be heard. */
  readonly took?: number;
}

/** Who is told of each thing said, for traces. */
export type Hearing = (heard: Heard) => void;

/** What one round of asking is about. */
export interface Matter {
  /** Absent where there is none: `resolve`. */
  readonly session?: Session;
  /** Aborts when the client goes. */
  readonly gone?: AbortSignal | undefined;
  readonly dryRun?: boolean;
  readonly heard?: Hearing | undefined;
  /** `explain`: whoever says nothing is heard, too, and how long it took. */
  readonly hearsAll?: boolean | undefined;
  /** The address this is about, where it is about one. */
  readonly about?: string | undefined;
  /** Only these are asked, by name; absent: those that are asked on arrival. */
  readonly only?: readonly string[] | undefined;
  /** Only plugins below this one are asked. */
  readonly below?: Instance | undefined;
  /** Begins a plugin's turn, in which it may edit; what an observed one edits is dropped. */
  readonly turn?: ((instance: Instance) => Turn) | undefined;
}

/** A plugin's turn at a message: once it is closed, whatever it still does to its view throws. */
export interface Turn {
  readonly message?: Editable;
  /** What was edited in it so far, in words. */
  edits?(): readonly string[];
  close(): void;
}

/** So many times its time-out a plugin may take that says it is at work. */
const mostProgress = 10;

const noTurn: Turn = { close() {} };

/** A turn that has begun, and when: monotonic milliseconds, where somebody wants to know. */
interface Turned {
  readonly turn: Turn;
  readonly began: number;
}

type Handler = (call: DataCall, turn: Turn) => unknown;
type CallHandler<K extends AskedHook> = (handler: Hooks[K], call: DataCall, turn: Turn) => unknown;
type Answered = Ruling | undefined;

const silence: Ruling = { kind: "silence", unsure: false };
const unsure: Ruling = { kind: "silence", unsure: true };

/** Made when a handler first looks at it: most never do, and a controller costs more than the rest of the call. */
class LazyCall implements DataCall {
  #controller: AbortController | undefined;
  #reason: unknown;
  /** Begins the plugin's time anew, once it runs. */
  onProgress: (() => void) | undefined;

  constructor(readonly dryRun: boolean, readonly gone: AbortSignal | undefined) {}

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.gone ? AbortSignal.any([this.gone, this.#controller.signal]) : this.#controller.signal;
  }

  progress(): void {
    this.onProgress?.();
  }

  abort(reason: Error): void {
    this.#reason = reason;
    this.#controller?.abort(reason);
  }
}

/** The plugins of one generation, ready to be asked. */
export class Chain {
  readonly #asked = new Map<keyof Hooks, readonly Instance[]>();

  constructor(readonly generation: Generation, readonly clock: Clock, readonly log: Log) {
    for (const instance of generation.instances) {
      for (const hook of Object.keys(instance.handlers) as (keyof Hooks)[]) {
        this.#asked.set(hook, [...(this.#asked.get(hook) ?? []), instance]);
      }
    }
  }

  /** Whether any plugin is only observed. */
  get observes(): boolean {
    return this.generation.instances.some(({ observe }) => observe);
  }

  /** Whom this session's message is to be shown once it is in the queue (`when: queued`). */
  queuedFor({ role }: Pick<Session, "role">): readonly string[] {
    return this.generation.instances.flatMap(({ name, when, roles, handlers }) =>
      when === "queued" && roles.includes(role) && (handlers.data || handlers.dataFor) ? [name] : []
    );
  }

  /** Whether any plugin has a handler for it. */
  has(hook: keyof Hooks): boolean {
    return this.#asked.has(hook);
  }

  /**
   * Asks each plugin that has a handler for the hook, until one speaks. At `rcpt` an `accept` does not end it: a later
   * plugin may still object.
   *
   * @param call Calls the handler with this hook's arguments.
   */
  ask<K extends AskedHook>(hook: K, matter: Matter, call: CallHandler<K>): Ruling | Promise<Ruling> {
    const instances = this.#asked.get(hook);
    if (!instances) return silence;
    const first = matter.below ? instances.indexOf(matter.below) + 1 : 0;
    return this.#from(first, instances, hook, matter, call, silence);
  }

  /** Runs without a Promise as long as the handlers do. */
  #from<K extends AskedHook>(
    first: number,
    instances: readonly Instance[],
    hook: K,
    matter: Matter,
    call: CallHandler<K>,
    ruling: Ruling,
  ): Ruling | Promise<Ruling> {
    for (let i = first; i < instances.length; i++) {
      const instance = instances[i]!;
      if (matter.only ? !matter.only.includes(instance.name) : instance.when === "queued") continue;
      if (matter.session && !instance.roles.includes(matter.session.role)) continue;
      const answer = this.#one(
        instance,
        hook,
        matter,
        (one, turn) => call(instance.handlers[hook]!, one, turn),
      );
      if (answer instanceof Promise) {
        return answer.then((late) => {
          const [next, ends] = combine(hook, ruling, late);
          return ends ? next : this.#from(i + 1, instances, hook, matter, call, next);
        });
      }
      const [next, ends] = combine(hook, ruling, answer);
      if (ends) return next;
      ruling = next;
    }
    return ruling;
  }

  /** One plugin's answer; `undefined` is no opinion. Never throws, never rejects. */
  #one(instance: Instance, hook: AskedHook, matter: Matter, handler: Handler): Answered | Promise<Answered> {
    const call = new LazyCall(matter.dryRun ?? false, matter.gone);
    const turn = matter.turn?.(instance) ?? noTurn;
    const turned: Turned = { turn, began: matter.hearsAll ? this.clock.monotonic() : 0 };
    const finish = (answer: () => Answered): Answered => {
      turn.close();
      return answer();
    };
    let said: unknown;
    try {
      said = handler(call, turn);
    } catch (error) {
      return finish(() => this.#failed(instance, hook, matter, turned, error));
    }
    if (!isThenable(said)) return finish(() => this.#heard(instance, hook, matter, turned, said));
    return this.#inTime(instance, call, said, matter.gone).then(
      (late) => finish(() => this.#heard(instance, hook, matter, turned, late)),
      (error) => finish(() => this.#failed(instance, hook, matter, turned, error)),
    );
  }

  #heard(instance: Instance, hook: AskedHook, matter: Matter, turned: Turned, said: unknown): Answered {
    let verdict: Verdict | undefined;
    try {
      verdict = readVerdict(hook, said);
    } catch (error) {
      return this.#failed(instance, hook, matter, turned, error);
    }
    if (verdict || matter.hearsAll || instance.observe) {
      this.#tell(instance, hook, matter, turned, verdict ?? "nothing");
    }
    if (!verdict || instance.observe) return undefined;
    if (verdict.verdict === "accept") return { kind: "claim", by: instance, claim: verdict.claim };
    return { kind: "objection", by: instance.name, verdict };
  }

  /** Tells who listens; what an observed plugin says, and what it would have edited, is in the log as well. */
  #tell(
    { name: plugin, observe: observed }: Instance,
    hook: AskedHook,
    { heard, about, hearsAll, session }: Matter,
    { turn, began }: Turned,
    said: Heard["said"],
    why?: string,
  ): void {
    const edits = observed || hearsAll ? turn.edits?.() ?? [] : [];
    if (said === "nothing" && edits.length === 0 && !hearsAll) return;
    heard?.({
      hook,
      plugin,
      said,
      observed,
      ...(about !== undefined && { about }),
      ...(edits.length > 0 && { edits }),
      ...(why !== undefined && { why }),
      ...(hearsAll && { took: this.clock.monotonic() - began }),
    });
    if (!observed || said === "failed" || (said === "nothing" && edits.length === 0)) return;
    this.log.info("observed", {
      plugin,
      hook,
      ...(said !== "nothing" && { verdict: summary(said), rule: said.rule }),
      ...(about !== undefined && { about }),
      ...(edits.length > 0 && { edits }),
      session: session?.id,
    });
  }

  #failed(instance: Instance, hook: AskedHook, matter: Matter, turned: Turned, error: unknown): Answered {
    this.#tell(instance, hook, matter, turned, "failed", explain(error));
    if (matter.gone?.aborted) return instance.observe ? undefined : { kind: "failure", by: instance.name };
    this.log.error("plugin failed", {
      plugin: instance.name,
      hook,
      session: matter.session?.id,
      error: explain(error),
    });
    if (instance.observe) return undefined;
    switch (instance.onError) {
      case "skip":
        return unsure;
      case "reject":
        return { kind: "objection", by: instance.name, verdict: brokenForGood };
      case "defer":
        return { kind: "failure", by: instance.name };
    }
  }

  /** The promise's value, unless the plugin's time is over or the client has gone first. */
  #inTime(
    instance: Instance,
    call: LazyCall,
    said: PromiseLike<unknown>,
    gone: AbortSignal | undefined,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const stop = (error: Error) => {
        end();
        call.abort(error);
        reject(error);
      };
      const left = () => stop(new Error("the client has gone"));
      const begun = this.clock.monotonic();
      const late = () => {
        const waited = Math.round(this.clock.monotonic() - begun);
        stop(new Error(`no answer within ${Math.max(waited, instance.timeout)} ms`));
      };
      let settled = false;
      let cancel = () => {};
      const end = () => {
        settled = true;
        cancel();
        gone?.removeEventListener("abort", left);
      };
      if (gone?.aborted) return left();
      said.then((value) => (end(), resolve(value)), (error) => (end(), reject(error)));
      queueMicrotask(() => { // whoever has answered by then needs neither a timer nor a listener
        if (settled) return;
        if (gone?.aborted) return left();
        cancel = this.clock.after(instance.timeout, late);
        call.onProgress = () => {
          if (settled) return;
          cancel();
          const left = begun + mostProgress * instance.timeout - this.clock.monotonic();
          cancel = this.clock.after(Math.max(0, Math.min(instance.timeout, left)), late);
        };
        gone?.addEventListener("abort", left, { once: true });
      });
    });
  }

  /** Tells every plugin that listens to a report; nobody waits for them, failures are only logged. */
  report<K extends ReportHook>(hook: K, event: Parameters<Hooks[K]>[0]): void {
    for (const instance of this.#asked.get(hook) ?? []) {
      const failed = (error: unknown) =>
        this.log.error("plugin failed", { plugin: instance.name, hook, error: explain(error) });
      try {
        const handler = instance.handlers[hook] as (event: Parameters<Hooks[K]>[0]) => unknown;
        const said = handler(event);
        if (isThenable(said)) said.then(undefined, failed);
      } catch (error) {
        failed(error);
      }
    }
  }
}

const brokenForGood: Objection = {
  verdict: "reject",
  status: "5.3.0",
  text: "This server cannot handle the message",
};

/** What is known after one more plugin was asked, and whether that ends it. */
function combine(hook: AskedHook, before: Ruling, answer: Answered): [Ruling, boolean] {
  if (!answer) return [before, false];
  if (answer.kind === "silence") {
    return [
      before.kind === "silence" ? unsure : before.kind === "claim" ? { ...before, unsure: true } : before,
      false,
    ];
  }
  // DESIGN §7: at rcpt every plugin may object, whoever accepted before it.
  if (hook === "rcpt" && answer.kind === "claim") return [before.kind === "claim" ? before : answer, false];
  if (hook === "resolve" && answer.kind === "claim" && isOnward(answer)) {
    // How mail of others leaves says nothing of whose it is: somebody below may have the mailbox. The first such word counts.
    const isUnsure = before.kind === "silence" && before.unsure;
    return [before.kind === "claim" ? before : { ...answer, ...(isUnsure && { unsure: true }) }, false];
  }
  return [answer, true];
}

/** `accept({ onward })` alone: no claim to the address. */
export function isOnward({ claim }: Ruling & { kind: "claim" }): boolean {
  const { via, to } = claim as { via?: unknown; to?: unknown };
  return via === undefined && to === undefined;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | undefined)?.then === "function";
}

/** An error as the log shows it: with where it was thrown, unless it is the plugin's own word. */
function explain(error: unknown): string {
  if (error instanceof MalformedVerdict) return error.message;
  return error instanceof Error ? error.stack ?? error.message : `threw ${String(error)}`;
}

/** A verdict in a few words: `reject 5.7.1 Greylisted`. */
export function summary(verdict: Verdict): string {
  return verdict.verdict === "accept" ? "accept" : `${verdict.verdict} ${verdict.status} ${verdict.text}`;
}
