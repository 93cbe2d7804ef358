/** Aliases that stand in a database or come from a web service: each address is asked for when mail comes for it. */
import { z } from "../../server/plugin.ts";
import { fold } from "../addresses.ts";
import {
  addressOf,
  Directory,
  type DirectoryHost,
  type Keeping,
  type Name,
  type Source,
} from "../directory/directory.ts";
import { type Asked, type Found, Table } from "./table.ts";

/** The aliases of some domains, as a back end has them. */
export class Elsewhere {
  readonly #source: Source;
  readonly #directory: Directory;
  readonly #domains: readonly string[];

  constructor(source: Source, keep: Keeping, domains: readonly string[], host: DirectoryHost) {
    this.#source = source;
    this.#directory = new Directory(source, keep, host);
    this.#domains = domains;
  }

  /**
   * What stands there for an address: with its tag, else without, else for its whole domain (`@example.org`).
   *
   * @throws {Error} when nobody answers, or what stands there can't be meant.
   */
  async find(asked: Asked): Promise<Found | undefined> {
    const domain = asked.domain === "" ? this.#domains[0]! : asked.domain; // RFC 5321 §4.1.1.3: `<postmaster>`
    if (!this.#domains.includes(domain)) return undefined;
    const locals = new Set([fold(asked.local), asked.user, ""]);
    for (const local of locals) {
      const found = await this.#directory.find({ local, domain });
      if (found) return this.#read({ local, domain }, found, asked);
    }
    return undefined;
  }

  close(): void {
    this.#directory.close();
  }

  #read(name: Name, found: readonly string[], asked: Asked): Found | undefined {
    const table = new Table(this.#domains);
    const wrong = table.add(addressOf(name), found.flatMap(addressesIn));
    if (wrong) throw new Error(`${this.#source.about}: ${wrong}`);
    return table.found(asked);
  }
}

/** Addresses in one text, between commas or white space, which stand in quoted local parts, too. */
function addressesIn(text: string): string[] {
  return text.match(/(?:"(?:[^"\\]|\\.)*"|[^\s,"])+/gs) ?? [];
}

const texts = z.union([z.string(), z.array(z.string())]);
const answer = z.union([texts, z.object({ to: texts })]);

/** An answer of a web service: an address, a list of them, or `{"to": …}`; none is no alias. */
export function readTargets(body: string): readonly string[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    throw new Error("is not JSON");
  }
  const read = answer.safeParse(json);
  if (!read.success) throw new Error('is no list of addresses, nor has it one as "to"');
  const given = typeof read.data === "object" && "to" in read.data ? read.data.to : read.data;
  const found = [given].flat();
  return found.length === 0 ? undefined : found;
}
