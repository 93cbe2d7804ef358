/** The live objects behind the views that handlers see: a client's session, its transaction and the recipients. */
import type { Address, Json, OpenTransaction, Recipient, Session, Transport } from "./plugin.ts";
import { mailboxKey, parseAddress } from "./smtp/address.ts";
import type { MailParams, RcptParams } from "./smtp/params.ts";
import { makeField } from "./message/field.ts";
import type { Binding } from "./proxying.ts";
import type { ReportedOn } from "./spool/spool.ts";

/** A session as the connection knows it; the chain shows it to handlers as {@linkcode Session}. */
export class ClientSession implements Session {
  helo: string | undefined = undefined;
  /** Whether it said EHLO or LHLO. */
  extended = false;
  tls: Session["tls"] = undefined;
  user: { readonly name: string; readonly sendAs: readonly string[] } | undefined = undefined;

  constructor(
    readonly id: string,
    readonly role: Session["role"],
    readonly protocol: Session["protocol"],
    readonly remote: Session["remote"],
    readonly trusted: boolean = false,
  ) {}
}

/** Says whose handler may edit an envelope at this moment; outside of a turn, every edit throws. */
export class EditGate {
  #turn: { readonly plugin: string; readonly observed: boolean } | undefined;
  /** What was edited in the last turn, an observed plugin's as well. */
  made: string[] = [];

  /** From here to `close` edits are this plugin's; an observed one's are dropped. */
  open(plugin: string, observed: boolean): void {
    this.#turn = { plugin, observed };
    if (this.made.length > 0) this.made = [];
  }

  close(): void {
    this.#turn = undefined;
  }

  /** Makes an edit. @throws {TypeError} when no handler of the transaction runs. */
  edit(what: string, change: (plugin: string) => void): void {
    if (!this.#turn) throw new TypeError(`${what}: the hook has returned, edits are over`);
    this.made.push(what);
    if (!this.#turn.observed) change(this.#turn.plugin);
  }
}

/** Where a final copy goes. */
export interface FinalTarget {
  readonly address: Address;
  /** The transport's name. */
  readonly via: string;
  /** Who claimed it. */
  readonly by: string;
}

/** Where an address that a plugin adds may go. */
export interface AddedHow {
  /** There, whatever the address. */
  readonly via?: Transport | undefined;
  /** There where nobody here has it. */
  readonly onward?: Transport | undefined;
}

/** Where a plugin's own copy goes. */
export interface CopyTarget extends FinalTarget {
  /** For its transport. */
  readonly note?: Json;
}

/** One accepted RCPT. */
export class EnvelopeRecipient implements Recipient {
  readonly address: string;
  readonly local: string;
  readonly user: string;
  readonly tag: string | undefined;
  readonly domain: string;
  /** Raw header lines for this one's copy, the last prepended first. */
  readonly top: string[] = [];
  finals: readonly FinalTarget[] = [];

  readonly params: ReadonlyMap<string, string>;
  /** The very address that `resolve` is asked of: an isolated plugin has answered that along with `rcpt`. */
  readonly given: Address;
  /** What RCPT said of reports (RFC 3461 §4.1, §4.2). */
  readonly dsn: Pick<RcptParams, "notify" | "orcpt">;

  constructor(
    readonly id: string,
    address: Address,
    { params, notify, orcpt }: RcptParams,
    readonly gate: EditGate,
  ) {
    this.params = params;
    this.given = address;
    this.dsn = { ...(notify && { notify }), ...(orcpt && { orcpt }) };
    this.address = address.address;
    this.local = address.local;
    this.user = address.user;
    this.tag = address.tag;
    this.domain = address.domain;
  }

  get targets(): Recipient["targets"] {
    return this.finals.map(({ address, via, by }) => ({ address: address.address, via, by }));
  }

  prependHeader(name: string, value: string): void {
    const field = makeField(name, value);
    this.gate.edit("prependHeader", () => this.top.unshift(field));
  }

  toString(): string {
    return this.address;
  }
}

const noParams: RcptParams = { kind: "params", params: new Map() };

/** MAIL's parameters of mail of our own. */
export const ownMailParams = (smtputf8: boolean): MailParams => ({
  kind: "params",
  params: new Map(),
  smtputf8,
});

/** One mail transaction. */
export class Envelope implements OpenTransaction {
  readonly gate: EditGate = new EditGate();
  /** One for each RCPT that was accepted, in order, repeats included (LMTP answers each). */
  readonly accepted: EnvelopeRecipient[] = [];
  readonly #mailboxes = new Map<string, EnvelopeRecipient>();
  readonly #added: EnvelopeRecipient[] = [];
  readonly #removed = new Set<string>();
  /** What plugins want for themselves: no recipients, for nothing that becomes of these concerns the client. */
  readonly copies: CopyTarget[] = [];
  /** Who said what, as far as somebody spoke: for the log. */
  readonly said: string[] = [];
  /** It is a report of our own, on that message. */
  about: ReportedOn | undefined;
  #recipients = 0;

  readonly params: ReadonlyMap<string, string>;
  readonly smtputf8: boolean;
  /** Octets of the message as the client estimated them at MAIL. */
  readonly announced: number | undefined;
  /** Why it is to be held, and by whom: put into the queue, and not tried. */
  held: string | undefined;
  /** Once some recipient was to go by a proxy. */
  binding: Binding | undefined;
  /** What MAIL said of reports (RFC 3461 §4.3, §4.4). */
  readonly dsn: Pick<MailParams, "ret" | "envid">;

  /**
   * @param id Also the message's queue id.
   * @param mail MAIL's parameters.
   * @param resolveAdded Resolves an address that a plugin adds; answers where it goes, or throws.
   */
  constructor(
    readonly id: string,
    public sender: Address,
    mail: MailParams,
    readonly resolveAdded: (address: Address, how?: AddedHow) => Promise<readonly FinalTarget[]>,
  ) {
    const { params, smtputf8, size, ret, envid } = mail;
    this.params = params;
    this.smtputf8 = smtputf8;
    this.announced = size;
    this.dsn = { ...(ret && { ret }), ...(envid !== undefined && { envid }) };
  }

  get recipients(): readonly EnvelopeRecipient[] {
    const all = new Set([...this.accepted, ...this.#added]);
    return [...all].filter((one) => !this.#removed.has(one.id));
  }

  /** A recipient to ask about; it belongs to the envelope once `accept` is called with it. */
  candidate(address: Address, params: RcptParams = noParams): EnvelopeRecipient {
    return new EnvelopeRecipient(`${this.id}-${++this.#recipients}`, address, params, this.gate);
  }

  /** Adds an accepted recipient; the same mailbox twice is one delivery (CASES S03). */
  accept(recipient: EnvelopeRecipient): void {
    const key = mailboxKey(recipient);
    const same = this.#mailboxes.get(key) ?? recipient;
    this.#mailboxes.set(key, same);
    this.accepted.push(same);
  }

  /** Takes out a recipient that was refused after the dot: no edit of a plugin's, and no hook sees it any more. */
  leaveOut(recipient: EnvelopeRecipient): void {
    this.#removed.add(recipient.id);
  }

  setSender(address: string): void {
    const parsed = parseAddress(address);
    if (!parsed) throw new TypeError(`setSender: ${JSON.stringify(address)} is not an address`);
    this.gate.edit("setSender", (by) => {
      this.sender = parsed;
      this.said.push(`data ${by} setSender`);
    });
  }

  async addRecipient(address: string): Promise<void> {
    const parsed = parseAddress(address);
    if (!parsed || parsed.domain === "") {
      throw new TypeError(`addRecipient: ${JSON.stringify(address)} is not an address`);
    }
    const recipient = this.candidate(parsed);
    recipient.finals = await this.resolveAdded(parsed);
    this.gate.edit("addRecipient", (by) => { // asked only now: the hook may have timed out meanwhile
      this.#added.push(recipient);
      this.said.push(`data ${by} addRecipient`);
    });
  }

  hold(reason: string): void {
    if (typeof reason !== "string") throw new TypeError("hold: the reason is not a text");
    this.gate.edit("hold", (by) => {
      this.held ??= `${by}: ${reason.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 200)}`;
      this.said.push(`data ${by} hold`);
    });
  }

  async addCopy(address: string, how: Parameters<OpenTransaction["addCopy"]>[1] = {}): Promise<void> {
    const parsed = parseAddress(address);
    if (!parsed || parsed.domain === "") {
      throw new TypeError(`addCopy: ${JSON.stringify(address)} is not an address`);
    }
    const { via, onward, note } = how;
    const found = await this.resolveAdded(parsed, { via, onward });
    this.gate.edit("addCopy", (by) => {
      this.copies.push(...found.map((one) => ({ ...one, by, ...(note !== undefined && { note }) })));
      this.said.push(`data ${by} addCopy`);
    });
  }

  removeRecipient(id: string): void {
    this.gate.edit("removeRecipient", (by) => {
      this.#removed.add(id);
      this.said.push(`data ${by} removeRecipient`);
    });
  }
}
