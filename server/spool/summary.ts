/** Summaries of records: what a start has to know, and memory holds, of each message. */
import { Decoder, type Encoder } from "./encoder.ts";
import type { RecipientState } from "./spool.ts";

/** How recipients stand, as numbers: memory holds these for each message whose recipients aren't all new. */
export const StateCode = { due: 0, delivered: 1, failed: 2 } as const;

export function stateCode(state: RecipientState["state"]): number {
  return StateCode[state];
}

/** How one recipient stands, without the words. */
export interface Standing {
  /** Of `StateCode`. */
  readonly code: number;
  readonly attempts: number;
  readonly due: number;
}

export function standingOf(state: RecipientState): Standing {
  return state.state === "due"
    ? { code: StateCode.due, attempts: state.attempts, due: state.due }
    : { code: stateCode(state.state), attempts: 0, due: 0 };
}

/** Of a message record. */
export interface MessageSummary {
  readonly id: string;
  /** How often it was rewritten; the highest is the one that counts. */
  readonly generation: number;
  readonly received: number;
  readonly recipients: number;
  /** See `destinationOf`; none where there are too many. */
  readonly destinations: readonly string[];
  /** Where its content is in a file of its own: the file's name. */
  readonly file: string | undefined;
  /** Octets of the content. */
  readonly size: number;
  readonly held: string | undefined;
  /** By index of the recipients; absent where all are new. */
  readonly standings: readonly Standing[] | undefined;
}

const hasFile = 1;
const isHeld = 2;
const hasStandings = 4;

export function encodeMessage(into: Encoder, message: MessageSummary): void {
  const { file, held, standings, destinations } = message;
  encodeAbout(into, message.id, message.generation);
  into.f64(message.received);
  into.f64(message.size);
  into.u32(message.recipients);
  into.u8(
    (file === undefined ? 0 : hasFile) | (held === undefined ? 0 : isHeld) | (standings ? hasStandings : 0),
  );
  into.u8(destinations.length);
  for (const destination of destinations) into.short(destination);
  if (file !== undefined) into.name(file);
  if (held !== undefined) into.short(held);
  for (const standing of standings ?? []) encodeStanding(into, standing);
}

export function decodeMessage(bytes: Uint8Array): MessageSummary {
  const from = new Decoder(bytes);
  const [id, generation, received, size] = [from.name(), from.u32(), from.f64(), from.f64()];
  const [recipients, flags] = [from.u32(), from.u8()];
  const destinations = Array.from({ length: from.u8() }, () => from.short());
  const file = flags & hasFile ? from.name() : undefined;
  const held = flags & isHeld ? from.short() : undefined;
  const standings = flags & hasStandings
    ? Array.from({ length: recipients }, () => decodeStanding(from))
    : undefined;
  return { id, generation, received, size, recipients, destinations, file, held, standings };
}

function encodeStanding(into: Encoder, { code, attempts, due }: Standing): void {
  into.u8(code);
  into.u32(attempts);
  into.f64(due);
}

function decodeStanding(from: Decoder): Standing {
  return { code: from.u8(), attempts: from.u32(), due: from.f64() };
}

/** What each record but a message's begins with: which message, and as of which generation. */
export function encodeAbout(into: Encoder, id: string, generation: number): void {
  into.name(id);
  into.u32(generation);
}

/** Of an outcome record: recipients by index, with how they stand. */
export type OutcomeSummary = readonly (readonly [recipient: number, standing: Standing])[];

export function encodeOutcomes(into: Encoder, outcomes: OutcomeSummary): void {
  into.u32(outcomes.length);
  for (const [recipient, standing] of outcomes) {
    into.u32(recipient);
    encodeStanding(into, standing);
  }
}

/** Of any record about a message, that of the message aside. */
export interface About {
  readonly id: string;
  readonly generation: number;
  /** The rest of the summary. */
  readonly rest: Decoder;
}

export function decodeAbout(bytes: Uint8Array): About {
  const rest = new Decoder(bytes);
  return { id: rest.name(), generation: rest.u32(), rest };
}

export function decodeOutcomes(from: Decoder): OutcomeSummary {
  return Array.from({ length: from.u32() }, () => [from.u32(), decodeStanding(from)] as const);
}

/** Of a redirect: recipients that begin anew, with where the message goes now. */
export interface RedirectSummary {
  readonly outcomes: OutcomeSummary;
  /** As in {@linkcode MessageSummary}. */
  readonly destinations: readonly string[];
}

export function encodeRedirect(into: Encoder, { outcomes, destinations }: RedirectSummary): void {
  encodeOutcomes(into, outcomes);
  into.u8(destinations.length);
  for (const destination of destinations) into.short(destination);
}

export function decodeRedirect(from: Decoder): RedirectSummary {
  return {
    outcomes: decodeOutcomes(from),
    destinations: Array.from({ length: from.u8() }, () => from.short()),
  };
}

/** What lies behind a place is void. */
export interface VoidSummary {
  readonly number: number;
  readonly from: number;
}

export function encodeVoid(into: Encoder, { number, from }: VoidSummary): void {
  into.u32(number);
  into.u32(from);
}

export function decodeVoid(bytes: Uint8Array): VoidSummary {
  const from = new Decoder(bytes);
  return { number: from.u32(), from: from.u32() };
}
