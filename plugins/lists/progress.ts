/** How far a message has come through a list: kept, so that neither a restart nor another attempt begins anew. */
import type { Host } from "../../server/plugin.ts";

/** Longer than anything waits in the queue. */
const ttl = "30d";

/** Members in one value: a store takes values of 256 KiB, and an address has up to 256 octets. */
const inOnePart = 500;

/** Whom it is for: so many parts of their addresses. Those who are left over are the next round's. */
interface Round {
  readonly round: number;
  readonly parts: number;
}

/** How many of a round had their turn, and how many parts there are of those who are to be tried again. */
interface Place {
  readonly round: number;
  readonly at: number;
  readonly later: number;
}

/** One message's way through one list. */
export class Progress {
  readonly #store: Host["store"];
  readonly #about: string;
  readonly #round: Round;
  readonly #members: readonly string[];
  #place: Place;

  private constructor(
    store: Host["store"],
    about: string,
    round: Round,
    members: readonly string[],
    place: Place,
  ) {
    this.#store = store;
    this.#about = about;
    this.#round = round;
    this.#members = members;
    this.#place = place;
  }

  /** Goes on where it was, else begins with `members`: who comes or goes meanwhile changes nothing. */
  static async open(
    store: Host["store"],
    about: string,
    members: () => Promise<readonly string[]>,
  ): Promise<Progress> {
    let round = await store.get<{ round: number; parts: number }>(`round ${about}`) as Round | undefined;
    if (!round) {
      round = { round: 1, parts: await write(store, about, 1, 0, await members()) };
      // Last: until it is there nothing has begun.
      await store.set(`round ${about}`, { ...round }, { ttl });
    }
    const place = await store.get<{ round: number; at: number; later: number }>(`place ${about}`);
    const isOfIt = place?.round === round.round;
    return new Progress(
      store,
      about,
      round,
      await read(store, about, round),
      isOfIt ? place : { round: round.round, at: 0, later: 0 },
    );
  }

  get isOver(): boolean {
    return this.#place.at >= this.#members.length;
  }

  /** The next ones. */
  next(most: number): readonly string[] {
    const { at } = this.#place;
    return this.#members.slice(at, at + most);
  }

  /** They had their turn. */
  async done(group: readonly string[], later: readonly string[]): Promise<void> {
    const { round, at, later: before } = this.#place;
    const parts = await write(this.#store, this.#about, round + 1, before, later);
    this.#place = { round, at: at + group.length, later: before + parts };
    await this.#store.set(`place ${this.#about}`, { ...this.#place }, { ttl });
  }

  /**
   * Ends the round. That all have had it stays known: killed before that is on record in the queue, the message comes once more.
   *
   * @returns Whether some are left for the next.
   */
  async finish(): Promise<"over" | "some are left"> {
    const { round, later } = this.#place;
    // With its number a place of the round before counts for nothing: both change at once.
    await this.#store.set(`round ${this.#about}`, { round: round + 1, parts: later }, { ttl });
    if (later === 0) await this.#store.delete(`place ${this.#about}`);
    for (let part = 0; part < this.#round.parts; part++) {
      await this.#store.delete(nameOf(this.#about, round, part));
    }
    return later === 0 ? "over" : "some are left";
  }
}

const nameOf = (about: string, round: number, part: number) => `members ${round} ${part} ${about}`;

/** Writes parts of a round, behind those that there are. @returns How many. */
async function write(
  store: Host["store"],
  about: string,
  round: number,
  before: number,
  members: readonly string[],
): Promise<number> {
  let parts = 0;
  for (let at = 0; at < members.length; at += inOnePart, parts++) {
    await store.set(nameOf(about, round, before + parts), members.slice(at, at + inOnePart), { ttl });
  }
  return parts;
}

/** @throws {Error} where one is missing: nobody is left out unsaid. */
async function read(store: Host["store"], about: string, { round, parts }: Round): Promise<string[]> {
  const all: string[] = [];
  for (let part = 0; part < parts; part++) {
    const members = await store.get<string[]>(nameOf(about, round, part));
    if (!members) throw new Error(`some of those whom ${about} is for can't be found in the store`);
    all.push(...members);
  }
  return all;
}
