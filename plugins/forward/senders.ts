/** The senders of forwarded copies: rewritten by the scheme of `srs.ts` with the keys of a file, and read back. */
import type { Address, Host } from "../../server/plugin.ts";
import { split } from "../addresses.ts";
import type { FollowedFile } from "../followed_file.ts";
import { followYaml } from "../yaml_file.ts";
import { readKeys } from "./keys.ts";
import { isRewritten, rewrite, type SrsHow, undo, type Undone } from "./srs.ts";

/** What the configuration says of them. */
export interface SendersHow extends Omit<SrsHow, "keys"> {
  /** The absolute path of the file of keys. */
  readonly keys: string;
  /** Domains whose senders stay as they are, in A-labels. */
  readonly except: readonly string[];
}

/** Rewrites senders, or leaves them as they are where nothing is configured. */
export class Senders {
  readonly #how: SendersHow | undefined;
  readonly #keys: FollowedFile<readonly string[]> | undefined;
  readonly #host: Pick<Host, "clock" | "log">;

  private constructor(
    how: SendersHow | undefined,
    keys: FollowedFile<readonly string[]> | undefined,
    host: Pick<Host, "clock" | "log">,
  ) {
    this.#how = how;
    this.#keys = keys;
    this.#host = host;
  }

  /** @throws {Error} when the keys can't be read, with the place of what is wrong. */
  static async open(how: SendersHow | undefined, host: Pick<Host, "clock" | "log">): Promise<Senders> {
    if (!how) return new Senders(undefined, undefined, host);
    try {
      return new Senders(how, await followYaml(how.keys, readKeys, host), host);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      const line = '`echo "- $(openssl rand -hex 32)"`';
      throw new Error(`there is no file ${how.keys}: make it, with a line as ${line} writes it`);
    }
  }

  /** What MAIL says of this sender, for a relay's claim; nothing where it stays. */
  async of(sender: string): Promise<{ readonly sender?: string }> {
    const how = await this.#current();
    if (!how || sender === "" || how.except.includes(split(sender).domain ?? "")) return {};
    const rewritten = rewrite(sender, how, this.#host.clock.now());
    if (rewritten.kind === "too long") {
      this.#host.log.warning("sender too long to be rewritten", { sender });
    }
    return rewritten.kind === "rewritten" ? { sender: rewritten.address } : {};
  }

  /** Whether an address looks as if it had been made here. */
  looksMade({ local, domain }: Address): boolean {
    return domain === this.#how?.domain && isRewritten(local);
  }

  /** Whom such an address stands for. */
  async read(address: Address): Promise<Undone> {
    const how = await this.#current();
    return how ? undo(address, how, this.#host.clock.now()) : { kind: "other" };
  }

  async #current(): Promise<SrsHow & Pick<SendersHow, "except"> | undefined> {
    return this.#how && this.#keys && { ...this.#how, keys: await this.#keys.current() };
  }
}
