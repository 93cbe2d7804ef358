/** What plugins of a generation run besides their handlers (`host.runs`): begun when it is in use, ended when another one is. */
import type { Dispose } from "../plugin.ts";

/** One thing that runs. */
export interface Runs {
  /** The instance's name. */
  readonly plugin: string;
  begin(): Dispose | Promise<Dispose>;
}

/** All that a generation runs. */
export class Running {
  readonly #ends: { readonly plugin: string; readonly end: Dispose }[] = [];
  #beginning: Promise<void> | undefined;
  #ended: Promise<void> | undefined;

  /** @param failed Told of what throws at its end. */
  constructor(
    readonly all: readonly Runs[],
    readonly failed: (plugin: string, error: unknown) => void,
  ) {}

  /** Begins all of it. @throws {Error} that names the plugin; what had begun is ended then. */
  async begin(): Promise<void> {
    this.#beginning ??= this.#begin();
    try {
      await this.#beginning;
    } catch (error) {
      await this.end();
      throw error;
    }
  }

  /** Ends what has begun: each is called before this returns, and it resolves when they all have ended. Never rejects. */
  end(): Promise<void> {
    return this.#ended ??= this.#end();
  }

  async #begin(): Promise<void> {
    for (const { plugin, begin } of this.all) {
      if (this.#ended) return;
      try {
        this.#ends.push({ plugin, end: await begin() });
      } catch (error) {
        throw new Error(`${plugin} can't run: ${error instanceof Error ? error.message : error}`, {
          cause: error,
        });
      }
    }
  }

  async #end(): Promise<void> {
    const ending = this.#endAll();
    await this.#beginning?.catch(() => {});
    await Promise.all([ending, this.#endAll()]);
  }

  /** The last first. */
  async #endAll(): Promise<void> {
    await Promise.all(
      this.#ends.splice(0).reverse().map(async ({ plugin, end }) => {
        try {
          await end();
        } catch (error) {
          this.failed(plugin, error);
        }
      }),
    );
  }
}
