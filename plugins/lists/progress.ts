/** How far a message has come through a list: kept, so that neither a restart nor another attempt begins anew. */
import type { Host } from "../../server/plugin.ts";

/** Longer than anything waits in the queue. */
const ttl = "30d";

/** Whom it is for; those who are left over are the next round's. */
interface Round {
  readonly round: number;
  readonly members: readonly string[];
}

/** How many of a round had their turn, and who of them is to be tried again. */
interface Place {
  readonly round: number;
  readonly at: number;
  readonly later: readonly string[];
}

/** One message's way through one list. */
export class Progress {
  readonly #store: Host["store"];
  readonly #about: string;
  readonly #round: Round;
  #place: Place;

  private constructor(store: Host["store"], about: string, round: Round, place: Place) {
    this.#store = store;
    this.#about = about;
    this.#round = round;
    this.#place = place;
  }

  /** Goes on where it was, else begins with `members`: who comes or goes meanwhile changes nothing. */
  static async open(
    store: Host["store"],
    about: string,
    members: () => Promise<readonly string[]>,
  ): Promise<Progress> {
    let round = await store.get<{ round: number; members: string[] }>(`round ${about}`) as Round | undefined;
    if (!round) {
      round = { round: 1, members: await members() };
      await store.set(`round ${about}`, { ...round }, { ttl });
    }
    const place = await store.get<{ round: number; at: number; later: string[] }>(`place ${about}`);
    const isOfIt = place?.round === round.round;
    return new Progress(store, about, round, isOfIt ? place : { round: round.round, at: 0, later: [] });
  }

  get isOver(): boolean {
    return this.#place.at >= this.#round.members.length;
  }

  /** The next ones. */
  next(most: number): readonly string[] {
    const { at } = this.#place;
    return this.#round.members.slice(at, at + most);
  }

  /** They had their turn. */
  async done(group: readonly string[], later: readonly string[]): Promise<void> {
    const { round, at, later: before } = this.#place;
    this.#place = { round, at: at + group.length, later: [...before, ...later] };
    await this.#store.set(`place ${this.#about}`, { ...this.#place }, { ttl });
  }

  /** Ends the round. @returns How many are left for the next. */
  async finish(): Promise<number> {
    const { round, later } = this.#place;
    if (later.length > 0) {
      // With its number a place of the round before counts for nothing: both change at once.
      await this.#store.set(`round ${this.#about}`, { round: round + 1, members: later }, { ttl });
      return later.length;
    }
    await this.#store.delete(`round ${this.#about}`);
    await this.#store.delete(`place ${this.#about}`);
    return 0;
  }
}
