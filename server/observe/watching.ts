/**
 * The words of observed plugins in one session, held until it is known what became of the mail: a plugin that would have refused
 * what others refuse anyway changes nothing, and a day's probing of addresses is no mail lost.
 */
import { type Heard, summary } from "../chain.ts";
import type { Metrics } from "../admin/metrics.ts";
import type { Fate, Observation, Observations } from "./observations.ts";

/** Held at a time: a transaction may have a thousand recipients. What is over it counts as if nothing had come of it. */
const most = 1000;

/** Whom a word is about. */
export interface About {
  readonly ip: string;
  readonly sender?: string | undefined;
}

/** One session's. */
export class Watching {
  readonly #observations: Observations;
  readonly #metrics: Pick<Metrics, "observed"> | undefined;
  /** About the session as a whole. */
  readonly #session: Observation[] = [];
  /** About the open transaction. */
  readonly #transaction: Observation[] = [];
  /** About the command that is being answered. */
  #command: Observation[] = [];

  constructor(observations: Observations, metrics: Pick<Metrics, "observed"> | undefined) {
    this.#observations = observations;
    this.#metrics = metrics;
  }

  /** A word was said; whether it counts is known when `answered` is called. */
  heard(heard: Heard, { ip, sender }: About): void {
    const { said, about, edits = [] } = heard;
    const words = said === "nothing" ? "edits" : said === "failed" ? "failed" : said.verdict;
    const status = typeof said === "object" && said.verdict !== "accept" ? ` ${said.status}` : "";
    const from = sender === undefined ? ip : `${ip} <${sender}>`;
    this.#command.push({
      plugin: heard.plugin,
      hook: heard.hook,
      said: words + status,
      text: said === "nothing" ? edits.join(", ") : said === "failed" ? heard.why ?? said : summary(said),
      about: about === undefined ? from : `${from} → <${about}>`,
    });
  }

  /** The command has its answer: a refusal settles what was said about it. */
  answered(scope: "session" | "transaction", refused: boolean): void {
    if (this.#command.length === 0) return;
    const said = this.#command;
    this.#command = [];
    if (refused) return this.#settle(said, "refused");
    const held = scope === "session" ? this.#session : this.#transaction;
    const room = Math.max(0, most - held.length);
    held.push(...said.slice(0, room));
    this.#settle(said.slice(room), "none");
  }

  /** The transaction is over: its message was kept, or refused, or never came. */
  transactionOver(fate: Fate): void {
    this.#settle(this.#command.splice(0), fate);
    this.#settle(this.#transaction.splice(0), fate);
  }

  /** The session is over. @param messages How many were accepted. */
  sessionOver(messages: number): void {
    this.transactionOver("none");
    this.#settle(this.#session.splice(0), messages > 0 ? "accepted" : "none");
  }

  #settle(said: readonly Observation[], fate: Fate): void {
    for (const one of said) {
      this.#observations.note(one, fate);
      this.#metrics?.observed(one.plugin, one.said, fate);
    }
  }
}
