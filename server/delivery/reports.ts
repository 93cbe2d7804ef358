/**
 * Tells senders what became of their mail (RFC 3461, 3464; CASES Q05, N02): who is told of what, what is attached, and that a
 * report is in the queue before the outcome that caused it is recorded, so that a crash repeats one rather than losing it.
 */
import type { Clock } from "../clock.ts";
import type { Ids } from "../ids.ts";
import type { Log } from "../log.ts";
import { type Content, memoryContent } from "../message/content.ts";
import { type DsnKind, type DsnParts, type DsnRecipient, makeDsn, printable } from "../message/dsn.ts";
import { type DsnTexts, dsnTexts } from "../message/dsn_text.ts";
import { noEdits } from "../message/edits.ts";
import { type HeaderSection, readHeader } from "../message/header.ts";
import { messageId } from "../message/received.ts";
import { concat, render, renderedSize, renderHead } from "../message/render.ts";
import type { Headers } from "../plugin.ts";
import { smtpTransport } from "../resolve.ts";
import type { QueuedEnvelope, QueuedRecipient, ReportedOn, Spool } from "../spool/spool.ts";

/** A report, ready to be sent: its sender is `<>`. */
export interface Bounce {
  readonly recipients: readonly string[];
  readonly content: Uint8Array<ArrayBuffer>;
  /** It can only be sent under SMTPUTF8. */
  readonly utf8: boolean;
  /** The message it is about, for the log and `track`. */
  readonly about: ReportedOn;
}

/** What reports need of the server. */
export interface ReportsOptions {
  readonly hostname: string;
  readonly clock: Pick<Clock, "now">;
  readonly log: Log;
  readonly ids: Ids;
  readonly spool: Pick<Spool, "keep">;
  /**
   * Sends mail of our own, as protocol "internal" (DESIGN §7): resolved, signed, kept.
   *
   * @throws {Error} when it was refused: it is kept as it is then.
   */
  submitBounce(bounce: Bounce): Promise<unknown>;
  /**
   * The transport of a report that submission refused; absent, or where it is `undefined`: `smtp`; `null`: there is no such
   * mailbox. @throws {Error} when that can't be told now.
   */
  readonly viaOf?: (address: string) => Via | Promise<Via>;
  readonly texts?: DsnTexts;
  /** Fills the array with random octets. */
  readonly random?: (octets: Uint8Array<ArrayBuffer>) => void;
}

type Via = string | undefined | null;

/** A recipient and what there is to report of it. */
export interface Reported extends Omit<DsnRecipient, "address" | "orcpt"> {
  readonly recipient: QueuedRecipient;
}

/** The message a report is about. */
export interface ReportedMessage {
  readonly envelope: QueuedEnvelope;
  /** Its content; rejects or is `undefined` where it can't be read any more. */
  content(): Promise<Content | undefined>;
}

/** A whole message larger than this is not returned: its header is (RFC 3461 §4.3 allows it). */
const largestReturned = 1024 * 1024;
/** Octets of a header that are returned. */
const largestHeader = 64 * 1024;

/** Whether the sender wants to hear of it (RFC 3461 §4.1). Nobody asked: of failures and delays. */
export function wants(kind: DsnKind, sender: string, { notify }: QueuedRecipient): boolean {
  if (sender === "" || notify === "NEVER") return false;
  if (notify === undefined) return kind !== "success";
  return notify.includes(kind === "failure" ? "FAILURE" : kind === "delay" ? "DELAY" : "SUCCESS");
}

/** Lists and machines have no use for a delay notice, and answer it (RFC 3834 §2). */
export function isAutomatic(headers: Headers): boolean {
  const submitted = headers.get("auto-submitted");
  if (submitted !== undefined && !/^no\b/i.test(submitted)) return true;
  if (headers.all("precedence").some((value) => /^(bulk|list|junk)\b/i.test(value))) return true;
  for (const [name] of headers) if (/^list-/i.test(name)) return true;
  return false;
}

/** Writes reports and sends them off. */
export class Reports {
  readonly #texts: DsnTexts;

  constructor(readonly options: ReportsOptions) {
    this.#texts = options.texts ?? dsnTexts;
  }

  /**
   * Tells the sender that these recipients failed for good, with one report. Those whose sender doesn't want to know, or is
   * nobody, are passed over; a report that failed itself is logged and forgotten (RFC 5321 §4.5.5).
   *
   * @throws {Error} when the report could not be kept: then the failures may not be recorded.
   */
  async failed(message: ReportedMessage, failures: readonly Reported[]): Promise<void> {
    if (message.envelope.sender === "") return await this.#dropped(message, failures);
    await this.#send("failure", message, failures);
  }

  /** Tells the sender of a delay, unless it is a list or a machine. @throws {Error} as `failed` does. */
  async delayed(message: ReportedMessage, delays: readonly Reported[]): Promise<void> {
    await this.#send("delay", message, delays);
  }

  /** Tells the sender of recipients who have it, where they asked for that. @throws {Error} as `failed` does. */
  async delivered(message: ReportedMessage, successes: readonly Reported[]): Promise<void> {
    await this.#send("success", message, successes);
  }

  async #send(kind: DsnKind, message: ReportedMessage, about: readonly Reported[]): Promise<void> {
    const { envelope } = message;
    const wanted = about.filter(({ recipient }) => wants(kind, envelope.sender, recipient));
    if (wanted.length === 0) return;
    const head = await this.#readHeader(message);
    if (kind === "delay" && head && isAutomatic(head.header)) return;
    // Of what is delivered, or may yet be, the header says enough (RFC 3461 §4.3).
    const whole = kind === "failure" && envelope.ret === "FULL" ? await this.#readWhole(message) : undefined;
    const original = whole
      ? { part: "message" as const, octets: whole }
      : head && { part: "headers" as const, octets: headerOctets(head) };
    const content = this.#write(kind, envelope, wanted, original);
    const bounce = {
      recipients: [envelope.sender],
      content,
      utf8: envelope.utf8,
      about: { id: envelope.id, kind },
    };
    if (await this.#keep(bounce) === "dropped") return;
    this.options.log.info("sender told", {
      id: envelope.id,
      to: envelope.sender,
      about: kind,
      recipients: wanted.map(({ recipient }) => recipient.original),
    });
  }

  #write(
    kind: DsnKind,
    envelope: QueuedEnvelope,
    about: readonly Reported[],
    original: DsnParts["original"],
  ): Uint8Array<ArrayBuffer> {
    const { hostname, clock, random = (octets) => void crypto.getRandomValues(octets) } = this.options;
    const octets = new Uint8Array(18);
    random(octets);
    return makeDsn({
      kind,
      hostname,
      to: envelope.sender,
      now: clock.now(),
      messageId: messageId(hostname, clock.now(), random),
      boundary: `=_${octets.toHex()}`,
      ...(envelope.envid !== undefined && { envid: envelope.envid }),
      arrival: envelope.received,
      utf8: envelope.utf8,
      recipients: merge(about),
      ...(original && { original }),
      texts: this.#texts,
    });
  }

  /** The header as it left; `undefined` where it can't be read, which is no reason to tell nobody. */
  async #readHeader({ envelope: { id, edits, top }, content }: ReportedMessage): Promise<Head | undefined> {
    try {
      const found = await content();
      if (!found) return undefined;
      const octets = renderHead(found, edits, top);
      return { octets, header: readHeader(octets, renderedSize(found, edits, top)) };
    } catch (error) {
      this.options.log.warning("cannot read the message for its report", { id, error: String(error) });
      return undefined;
    }
  }

  /** The message as it left; `undefined` where it can't be read or is too large. */
  async #readWhole(
    { envelope: { id, edits, top }, content }: ReportedMessage,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      const found = await content();
      if (!found || renderedSize(found, edits, top) > largestReturned) return undefined;
      const rendered = render(found, edits, top);
      return rendered instanceof Uint8Array ? rendered : concat(await Array.fromAsync(rendered));
    } catch (error) {
      this.options.log.warning("cannot read the message for its report", { id, error: String(error) });
      return undefined;
    }
  }

  /** Nothing refuses a report for good: what no plugin lets pass is queued as it is, if there is a mailbox for it. */
  async #keep(bounce: Bounce): Promise<"kept" | "dropped"> {
    const { log, ids, spool, clock, viaOf } = this.options;
    try {
      await this.options.submitBounce(bounce);
    } catch (error) {
      const recipients: QueuedRecipient[] = [];
      for (const address of bounce.recipients) {
        const via = await viaOf?.(address);
        if (via !== null) recipients.push({ address, original: address, via: via ?? smtpTransport });
      }
      const about = { id: bounce.about.id, to: bounce.recipients, error: String(error) };
      if (recipients.length === 0) {
        log.warning("undeliverable report dropped", about);
        return "dropped";
      }
      log.warning("report refused, queued as it is", about);
      await spool.keep({
        id: ids.message(),
        received: clock.now(),
        sender: "",
        utf8: bounce.utf8,
        edits: noEdits,
        top: [],
        recipients,
        trace: { about: bounce.about },
      }, memoryContent(bounce.content));
    }
    return "kept";
  }

  /** A report that can't be delivered reports to nobody. */
  async #dropped(message: ReportedMessage, failures: readonly Reported[]): Promise<void> {
    const { envelope: { id } } = message;
    const subject = (await this.#readHeader(message))?.header.get("subject") ?? "";
    for (const { recipient, status, reply } of failures) {
      this.options.log.warning("undeliverable report dropped", {
        id,
        to: recipient.address,
        status,
        reply: printable(reply, true),
        subject: printable(subject, true),
      });
    }
  }
}

/** Targets of one alias are one recipient to the sender: the first outcome speaks for those that are alike. */
function merge(about: readonly Reported[]): DsnRecipient[] {
  const merged = new Map<string, DsnRecipient>();
  for (const { recipient, ...outcome } of about) {
    const key = `${outcome.action} ${recipient.original}`;
    if (merged.has(key)) continue;
    merged.set(key, {
      ...outcome,
      address: recipient.original,
      ...(recipient.orcpt && { orcpt: recipient.orcpt }),
    });
  }
  return [...merged.values()];
}

/** A message's header section, and the octets it was read from. */
interface Head {
  readonly octets: Uint8Array<ArrayBuffer>;
  readonly header: HeaderSection;
}

/** The fields, as many whole ones as there is room for. */
function headerOctets({ octets, header }: Head): Uint8Array<ArrayBuffer> {
  let end = header.fieldsEnd;
  for (let field = header.length - 1; end > largestHeader && field >= 0; field--) end = header.start(field);
  return octets.subarray(0, end);
}
