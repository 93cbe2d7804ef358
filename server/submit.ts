/** Mail of our own: `host.submit()`. It is resolved, signed and kept like any other, only that no client speaks (DESIGN §7). */
import type { Chain } from "./chain.ts";
import { ClientSession, Envelope, ownMailParams } from "./envelope.ts";
import type { Ids } from "./ids.ts";
import type { Intake } from "./intake.ts";
import type { Log } from "./log.ts";
import type { Body } from "./message/content.ts";
import { Phases } from "./phases.ts";
import type { Defer, Host, Reject } from "./plugin.ts";
import { toObjection } from "./ruling.ts";
import { needsSmtpUtf8, parseAddress } from "./smtp/address.ts";
import { ChunkDecoder } from "./smtp/data.ts";
import { isPositive, type Reply } from "./smtp/reply.ts";
import type { ReportedOn } from "./spool/spool.ts";

/**
 * Mail of our own; `id`: made by `Ids.message`, where it has to be known before;
 * `about`: it is a report.
 */
export type OwnMail = Parameters<Host["submit"]>[0] & {
  readonly id?: string;
  readonly about?: ReportedOn;
};

/** What submitting needs. */
export interface SubmitOptions {
  readonly chain: Chain;
  readonly intake: Intake;
  readonly log: Log;
  readonly ids: Ids;
  readonly newBody: (id: string) => Body;
  readonly noRoom: () => Reply | undefined;
}

/**
 * Keeps a message for its recipients, or for none of them.
 *
 * @returns Its queue id, once it is kept.
 * @throws {TypeError} when an address does not parse or there is no recipient.
 * @throws {Error} with the reply when it was refused.
 */
export async function submit(
  mail: OwnMail,
  options: SubmitOptions,
): Promise<{ id: string }> {
  const { chain, intake, ids, newBody, noRoom } = options;
  const never = new AbortController().signal;
  const remote = { address: "internal", network: "internal", port: 0 };
  const session = new ClientSession(ids.session(), "submission", "internal", remote, true);
  const log = options.log.with({ session: session.id });
  const phases = new Phases(session, chain, {
    log,
    ids,
    gone: never,
    noRoom,
  });
  if (mail.recipients.length === 0) throw new TypeError("submit: there is no recipient");
  const full = noRoom();
  if (full) throw new Refused(full);
  const [sender, recipients] = [address(mail.sender), mail.recipients.map(address)];
  const utf8 = mail.utf8 === true || [sender, ...recipients].some(needsSmtpUtf8);
  const envelope = new Envelope(
    mail.id ?? ids.message(),
    sender,
    ownMailParams(utf8),
    (added, how) => phases.resolveAdded(added, how),
  );
  envelope.about = mail.about;
  phases.envelope = envelope;
  let left: Refused | undefined;
  for (const recipient of recipients) {
    if (recipient.domain === "") throw new TypeError('submit: "" is a sender, not a recipient');
    const refused = await phases.own(recipient);
    if (!refused) continue;
    if (!mail.refused) throw new Refused(refused, `${recipient}: `);
    mail.refused(recipient.address, toObjection(refused) as Reject | Defer); // no own() closes
    left = new Refused(refused, `nobody is left to send it to: ${recipient}: `);
  }
  if (left && envelope.recipients.length === 0) throw left;
  const body = newBody(envelope.id);
  try {
    await fill(body, mail.content);
    const replies = await intake.take({ phases, envelope, body, log, gone: never });
    const refused = replies.find((reply) => !isPositive(reply));
    if (refused) throw new Refused(refused);
    return { id: envelope.id };
  } finally {
    await body.discard();
  }
}

function address(text: string) {
  const parsed = parseAddress(text);
  if (!parsed) throw new TypeError(`submit: ${JSON.stringify(text)} is not an address`);
  return parsed;
}

/** A client would have heard this reply. */
class Refused extends Error {
  /** The reply's. */
  readonly code: number;

  constructor({ code, status, lines }: Reply, where = "") {
    super(`${where}${code} ${status ?? ""} ${lines.join(" ")}`);
    this.code = code;
  }
}

/** Writes the content with CRLF line ends, whatever it came with. */
async function fill(body: Body, content: Parameters<Host["submit"]>[0]["content"]): Promise<void> {
  const decoder = new ChunkDecoder();
  const pieces = typeof content === "string"
    ? [new TextEncoder().encode(content)]
    : content instanceof Uint8Array
    ? [content]
    : content;
  for await (const piece of pieces) await body.write(decoder.decode(piece));
  await body.write(decoder.flush());
}
