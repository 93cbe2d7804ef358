/** From a record of the log to what `track` remembers of it. Pure. */
import { type Decoder, decodeText } from "../spool/encoder.ts";
import type { ChangeDetail, MessageDetail, NoteDetail, RedirectDetail } from "../spool/jobs.ts";
import { RecordType } from "../spool/record.ts";
import type { QueuedEnvelope, RecipientState } from "../spool/spool.ts";
import { decodeAbout, decodeMessage, decodeOutcomes } from "../spool/summary.ts";
import { type Arrival, type Step, type TrackedRecipient, wordsIn, wordsOf } from "./steps.ts";

/** What one record says of one message. */
export interface Digest {
  readonly id: string;
  readonly steps: readonly Step[];
  /** What the message is found by. */
  readonly words: Iterable<string>;
  /** `repeat`: it was told before, by a record that may be gone. */
  readonly kind: "news" | "repeat";
}

/** A record, without its body. */
export interface RecordHead {
  readonly type: number;
  readonly summary: Uint8Array;
  readonly detail: Uint8Array;
}

/** What a record tells; nothing where it is about no message. @throws where it can't be read. */
export function digest({ type, summary, detail }: RecordHead): readonly Digest[] {
  switch (type) {
    case RecordType.message:
      return ofMessage(summary, parse(detail) as MessageDetail);
    case RecordType.note:
      return ofNote(parse(detail) as NoteDetail);
    case RecordType.outcome:
    case RecordType.hold:
    case RecordType.release:
    case RecordType.redirect:
    case RecordType.remove: {
      const { id, rest } = decodeAbout(summary);
      const known = detail.length > 0 ? parse(detail) : undefined;
      if (type === RecordType.outcome) {
        const recipients = decodeOutcomes(rest).map(([recipient]) => recipient);
        return news(
          id,
          (known as RecipientState[]).flatMap((state, i) =>
            hasHappened(state) ? [ofState(state, recipients[i]!)] : []
          ),
        );
      }
      if (type === RecordType.redirect) return ofRedirect(id, rest, known as RedirectDetail);
      const { at = null } = known as ChangeDetail | undefined ?? {};
      if (type === RecordType.hold) return news(id, [{ step: "held", at, reason: rest.short() }]);
      return news(id, [{ step: type === RecordType.release ? "released" : "deleted", at }]);
    }
    default:
      return [];
  }
}

function ofMessage(summary: Uint8Array, { envelope, states }: MessageDetail): Digest[] {
  const { size, generation, held } = decodeMessage(summary);
  const kind = generation === 0 ? "news" : "repeat";
  const holding: Step[] = kind === "news" && held !== undefined
    ? [{ step: "held", at: envelope.received, reason: held }]
    : [];
  const attempts = (states ?? []).flatMap((state, to) => hasHappened(state) ? [ofState(state, to)] : []);
  return withReport(received(envelope, size, kind, {}, [...holding, ...attempts]), envelope);
}

const hasHappened = (state: RecipientState): boolean => state.state !== "due" || state.reply !== "";

function ofRedirect(id: string, rest: Decoder, { recipients, states }: RedirectDetail): Digest[] {
  const to = decodeOutcomes(rest).map(([recipient]) => recipient);
  const [first] = states; // they are due when it was done
  const step: Step = {
    step: "redirected",
    at: first?.state === "due" ? first.due : null,
    to,
    recipients: recipientsOf({ recipients: to.flatMap((i) => recipients[i] ?? []) }),
  };
  return [{ id, kind: "news", steps: [step], words: wordsIn([step]) }];
}

function ofNote({ at, envelope, size, keeper }: NoteDetail): Digest[] {
  if (keeper.kind === "hop" && keeper.extent === "part") {
    const { kind: _kind, via: _via, extent: _extent, ...said } = keeper;
    const recipients = recipientsOf(envelope);
    const step: Step = { step: "passed", at, recipients, ...said };
    return [{ id: envelope.id, kind: "news", steps: [step], words: wordsIn([step]) }];
  }
  const attempts: Step[] = keeper.kind === "transport" || keeper.kind === "hop"
    ? envelope.recipients.map((_, to) => {
      const { host, tls } = keeper.kind === "hop" ? keeper : {};
      return {
        ...{ step: "attempt", at, to, outcome: "delivered", attempt: 1, reply: keeper.reply },
        ...(host !== undefined && { host }),
        ...(tls !== undefined && { tls }),
      };
    })
    : [];
  return withReport(received(envelope, size, "news", { keeper }, attempts), envelope);
}

function received(
  { id, received, sender, recipients, from, trace }: Omit<QueuedEnvelope, "edits" | "top">,
  size: number,
  kind: Digest["kind"],
  more: Pick<Arrival, "keeper">,
  then: readonly Step[],
): Digest {
  const arrival: Arrival = {
    sender,
    size,
    recipients: recipientsOf({ recipients }),
    ...(from && { from }),
    ...trace,
    ...more,
  };
  return {
    id,
    kind,
    steps: [{ step: "received", at: received, arrival }, ...then],
    words: wordsOf(arrival),
  };
}

function recipientsOf({ recipients }: Pick<QueuedEnvelope, "recipients">): TrackedRecipient[] {
  return recipients.map(({ address, original, via, copy }) => ({
    ...{ address, original, via },
    ...(copy && { copy }),
  }));
}

/** A report is a step of the message it is about, too. */
function withReport(
  digest: Digest,
  { id, received, trace }: Pick<QueuedEnvelope, "id" | "received" | "trace">,
): Digest[] {
  const { about } = trace ?? {};
  if (!about || digest.kind === "repeat") return [digest];
  return [digest, ...news(about.id, [{ step: "report", at: received, report: id, kind: about.kind }])];
}

function news(id: string, steps: readonly Step[]): Digest[] {
  return [{ id, steps, words: [], kind: "news" }];
}

function ofState(state: RecipientState, to: number): Step {
  const { reply, last } = state;
  if (state.state === "due" && !last && state.noticed) {
    return { step: "waits", at: null, to, reply, next: state.due };
  }
  const { at = null, attempt, host, tls } = last ?? {};
  return {
    step: "attempt",
    at,
    to,
    outcome: state.state === "due" ? "deferred" : state.state,
    ...(attempt !== undefined && { attempt }),
    ...(host !== undefined && { host }),
    ...(tls !== undefined && { tls }),
    reply,
    ...(state.state === "due" && { next: state.due }),
  };
}

function parse(detail: Uint8Array): unknown {
  return JSON.parse(decodeText(detail));
}
