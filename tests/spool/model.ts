/** What a spool was told and what it answered, and so what may and what must be in it. */
import { deepStrictEqual as deepEqual, fail, ok, strictEqual as equal } from "node:assert/strict";
import { Buffer } from "node:buffer";
import type {
  Queued,
  QueuedEnvelope,
  QueuedRecipient,
  RecipientState,
  Spool,
} from "../../server/spool/spool.ts";
import { octetsOf } from "../contract/spool.ts";

/** `asked`: no answer yet, or none that anybody heard: it may be so or not. */
type Answer = "asked" | "yes" | "no";

/** Something that is one of some values: the last that was answered, or one that was asked for since. */
class Known<T> {
  #values: T[];

  constructor(value: T) {
    this.#values = [value];
  }

  ask(value: T): void {
    this.#values.push(value);
  }

  /** The last that was asked for is so. */
  settle(value: T): void {
    this.#values = [value];
  }

  /** It was refused. */
  deny(value: T): void {
    this.#values.splice(this.#values.lastIndexOf(value), 1);
  }

  get values(): readonly T[] {
    return this.#values;
  }

  get isOpen(): boolean {
    return this.#values.length > 1;
  }
}

/** How a recipient stands, and where its copy goes: a redirect changes both or neither. */
export type Stand = RecipientState & { readonly way: string };

/** Where a recipient's copy goes, as text. */
export function wayOf({ address, via, hops }: Pick<QueuedRecipient, "address" | "via" | "hops">): string {
  return JSON.stringify([address, via, hops]);
}

/** What a message was amended to. */
export interface Version {
  readonly sender: string;
  readonly octets: Uint8Array;
}

/** A message as somebody outside knows it. */
export class ModelMessage {
  kept: Answer = "asked";
  readonly removed = new Known(false);
  readonly held = new Known<string | undefined>(undefined);
  readonly states: Known<Stand>[];
  /** Its sender and its content: an amendment changes both or neither. */
  readonly version: Known<Version>;

  constructor(readonly envelope: QueuedEnvelope, readonly octets: Uint8Array) {
    this.version = new Known({ sender: envelope.sender, octets });
    this.states = envelope.recipients.map((recipient) =>
      new Known<Stand>({ state: "due", due: 0, attempts: 0, reply: "", way: wayOf(recipient) })
    );
  }

  get id(): string {
    return this.envelope.id;
  }

  /** It has to be in the queue. */
  get mustBe(): boolean {
    if (this.kept !== "yes" || this.removed.values.includes(true)) return false;
    return this.states.some(({ values }) => values.every(isOpen));
  }

  /** It can't be. */
  get mayNotBe(): boolean {
    if (this.kept === "no" || !this.removed.values.includes(false)) return true;
    return this.states.every(({ values }) => !values.some(isOpen));
  }

  /** An operation is under way: no other is begun, so that it stays clear what may be. */
  get isBusy(): boolean {
    return this.removed.isOpen || this.held.isOpen || this.version.isOpen ||
      this.states.some((state) => state.isOpen);
  }
}

const isOpen = ({ state }: RecipientState) => state === "due";

/** All messages that were ever given to a spool. */
export class Model {
  readonly messages = new Map<string, ModelMessage>();
  /** How many times something was looked at. */
  checks = 0;

  /** Those that were kept and not given up, as far as anybody knows. */
  get living(): ModelMessage[] {
    return [...this.messages.values()].filter((message) => message.kept === "yes" && !message.mayNotBe);
  }

  /** Compares all of a spool that was just opened; what is found is known from now on. */
  async check(spool: Spool): Promise<void> {
    const found = new Map<string, Queued>();
    for await (const queued of spool.list()) found.set(queued.envelope.id, queued);
    for (const id of found.keys()) ok(this.messages.has(id), `${id} was never given to it`);
    for (const message of [...this.messages.values()]) {
      this.checks++;
      const queued = found.get(message.id);
      if (message.mayNotBe) equal(queued, undefined, `${message.id} has risen again`);
      if (message.mustBe) ok(queued, `${message.id} is missing`);
      if (queued) {
        await checkMessage(
          spool,
          message,
          queued,
          message.states.map(({ values }) => values),
          "still",
        );
      }
      if (queued) settle(message, queued);
      else this.messages.delete(message.id); // what nobody knows any more can't be asked again
    }
    equal(spool.size, found.size);
  }

  /** Looks at one message of a running spool, of which anything may change meanwhile. */
  async look(spool: Spool, message: ModelMessage): Promise<void> {
    this.checks++;
    const before = message.states.map(({ values }) => values);
    const versions = message.version.values;
    const queued = await spool.get(message.id);
    if (!queued) return equal(message.mustBe, false, `${message.id} is missing`);
    await checkMessage(
      spool,
      message,
      queued,
      message.states.map(({ values }, i) => [...values, ...before[i]!]),
      versions,
    );
  }
}

async function checkMessage(
  spool: Spool,
  message: ModelMessage,
  queued: Queued,
  possible: readonly (readonly Stand[])[],
  /** `still`: nothing changes meanwhile; else what it could be before. */
  before: "still" | readonly Version[],
): Promise<void> {
  const { id } = message;
  const asGiven = queued.envelope.recipients.map(({ hops: _, ...recipient }, i) => {
    const { address, via } = message.envelope.recipients[i]!;
    return { ...recipient, address, via };
  });
  const { sender } = queued.envelope;
  deepEqual({ ...queued.envelope, sender: message.envelope.sender, recipients: asGiven }, message.envelope);
  const versions = [...message.version.values, ...before === "still" ? [] : before];
  ok(versions.some((version) => version.sender === sender), `${id} is of ${sender}`);
  for (const [i, state] of standsOf(queued).entries()) {
    if (possible[i]!.some((other) => textOf(other) === textOf(state))) continue;
    fail(`${id}, recipient ${i}: ${textOf(state)} instead of ${possible[i]!.map(textOf).join(" or ")}`);
  }
  const content = await spool.content(id);
  if (content) {
    const octets = await octetsOf(content);
    const could = [...message.version.values, ...versions].filter((one) =>
      before !== "still" || one.sender === sender
    );
    ok(could.some((one) => Buffer.compare(one.octets, octets) === 0), `${id} is not what was kept`);
    if (before === "still") message.version.settle({ sender, octets });
  } else equal(message.mustBe, false, `${id} has no content`);
}

function standsOf({ envelope, states }: Queued): Stand[] {
  return states.map((state, i) => ({ ...state, way: wayOf(envelope.recipients[i]!) }));
}

function settle(message: ModelMessage, queued: Queued): void {
  const { held } = queued;
  for (const [i, state] of standsOf(queued).entries()) message.states[i]!.settle(state);
  ok(message.held.values.includes(held), `${message.id} is held: ${held}`);
  message.held.settle(held);
  message.removed.settle(false);
  message.kept = "yes";
}

/** Without the time, which a release changes. */
function textOf(state: Stand): string {
  const stands = state.state === "due" ? `due ${state.attempts}` : state.state;
  return `${stands} ${state.reply} ${state.way}`;
}
