/** What is fuzzed, and what has to hold for whatever goes in. */
import type { Random } from "../spool/random.ts";

/** One machine or parser under attack. */
export interface Target {
  readonly name: string;
  /** What has to hold, in a sentence. */
  readonly holds: string;
  /** Inputs that are good or nearly so: where mutation begins. */
  readonly seeds: readonly Uint8Array[];
  /**
   * Tries one input.
   *
   * @param random What else the try draws: settings, split points. The same seed draws the same.
   * @throws {Error} what is wrong.
   */
  try(input: Uint8Array, random: Random): void | Promise<void>;
  /** Only the work whose time has to be linear in the input; absent where the input's length is bounded before anything is done. */
  work?(input: Uint8Array): void;
}

/** @throws {Error} with the sentence, unless it holds. */
export function must(holds: boolean, sentence: () => string): asserts holds {
  if (!holds) throw new Error(sentence());
}

/** @throws {Error} that shows both, unless they are the same text. */
export function mustBeSame(one: string, other: string, what: string): void {
  if (one === other) return;
  let at = 0;
  while (one[at] === other[at]) at++;
  const near = (text: string) => JSON.stringify(text.slice(Math.max(0, at - 60), at + 60));
  throw new Error(`${what}: from character ${at} on they differ: ${near(one)} and ${near(other)}`);
}

/** Octets of a text, one each character. */
export function octets(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff);
}

/** The reverse of {@linkcode octets}. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return text;
}

/** How a stream is cut. */
export type Cut = "whole" | "one octet at a time" | "anywhere";

/** The stream in pieces. */
export function* cutUp(bytes: Uint8Array, cut: Cut, random: Random): Generator<Uint8Array> {
  const most = cut === "whole" ? bytes.length : cut === "anywhere" ? 64 : 1;
  for (let at = 0; at < bytes.length;) {
    const end = cut === "anywhere" ? at + 1 + random.below(most) : at + most;
    yield bytes.slice(at, end); // a copy: the memory of a piece is used again once it was taken
    at = end;
  }
}
