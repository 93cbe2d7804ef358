/** Who said what to a message that a test sends: heard at the plugins' handlers, known by the session it came on. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Instance } from "../generation.ts";
import type { Field, Log } from "../log.ts";
import type { Hooks, Verdict } from "../plugin.ts";

/** What a plugin said at a hook. */
export type Said =
  & {
    /** The instance's name. */
    readonly plugin: string;
    /** Whose turn it was. */
    readonly hook: keyof Hooks;
    /** It was asked with `observe: true`, so it has decided nothing. */
    readonly observed?: true;
  }
  & ({
    /** As it was returned: `reject("5.7.1", "No")`. */
    readonly verdict: Verdict;
  } | {
    /** It threw, was late or returned nonsense: what the log says of it, a stack perhaps. */
    readonly error: string;
  });

/** What was heard on one connection. */
export class Heard {
  readonly said: Said[] = [];
  /** Who refused last. */
  refusedBy = "core";
}

/** Connects what is said with the session it is said on, several of which may run at once. */
export class Hearing {
  readonly #sessions = new AsyncLocalStorage<Heard>();

  /** Whatever is said while `work` goes on is heard of in `heard`. */
  during<T>(heard: Heard, work: () => T): T {
    return this.#sessions.run(heard, work);
  }

  /** Listens to every handler of an instance but its reports, which say nothing. */
  listen(instance: Instance): void {
    const handlers = instance.handlers as Record<string, (...given: unknown[]) => unknown>;
    for (const [hook, handler] of Object.entries(handlers)) {
      const note = (said: unknown) => {
        const heard = isVerdict(said) ? this.#sessions.getStore() : undefined;
        heard?.said.push({
          plugin: instance.name,
          hook: hook as keyof Hooks,
          verdict: said as Verdict,
          ...(instance.observe && { observed: true as const }),
        });
        return said;
      };
      handlers[hook] = (...given) => {
        const said = handler(...given);
        return said instanceof Promise ? said.then(note) : note(said);
      };
    }
  }

  /** A log from which failures and refusals are heard of: handlers know neither that they were late nor that they were overruled. */
  through(log: Log): Log {
    const note = (event: string, fields: Record<string, Field>) => {
      const heard = this.#sessions.getStore();
      if (!heard) return;
      if (event === "refused") heard.refusedBy = String(fields.by);
      if (event === "plugin failed") {
        const { plugin, hook, error } = fields;
        heard.said.push({ plugin: String(plugin), hook: hook as keyof Hooks, error: String(error) });
      }
    };
    return {
      debug: (event, fields) => log.debug(event, fields),
      info: (event, fields = {}) => (note(event, fields), log.info(event, fields)),
      warning: (event, fields) => log.warning(event, fields),
      error: (event, fields = {}) => (note(event, fields), log.error(event, fields)),
      with: (fields) => this.through(log.with(fields)),
    };
  }
}

const verdicts = new Set(["accept", "reject", "defer", "disconnect"]);

function isVerdict(said: unknown): boolean {
  return typeof said === "object" && said !== null && "verdict" in said && verdicts.has(String(said.verdict));
}
