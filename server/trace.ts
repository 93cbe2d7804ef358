/** What is kept of a message's way in, so that `track` can tell of it when nobody can ask the plugins any more. */
import type { Envelope } from "./envelope.ts";
import type { EditableMessage } from "./message/message.ts";
import type { Phases } from "./phases.ts";
import type { Origin, Trace } from "./spool/spool.ts";

/** Things said; a message for a thousand recipients has two of each. */
const mostSaid = 64;
/** Characters of one of them, and of a Message-ID; of a fact as JSON; of all facts together. */
const [longestText, longestFact, mostFacts] = [300, 2_000, 8_000];

/** Who brought it. */
export function originOf({ session }: Phases): Origin {
  const { remote, helo, user, tls, protocol } = session;
  return {
    ip: remote.address,
    ...(helo && { helo }),
    ...(user && { user: user.name }),
    ...(tls && { tls: `${tls.version} ${tls.cipher}` }),
    protocol,
  };
}

/** How it was taken, in a few kilobytes at most. */
export function traceOf({ session, chain }: Phases, envelope: Envelope, message: EditableMessage): Trace {
  const messageId = message.header.get("message-id");
  const said = [
    ...envelope.said,
    ...message.trace.map(({ plugin, edit, name }) => `data ${plugin} ${edit} ${name ?? "body"}`),
  ];
  const facts = factsOf([session, envelope], (one) => chain.generation.facts?.about(one));
  return {
    ...(messageId !== undefined && { messageId: cut(messageId) }),
    ...(said.length > 0 && { said: shortened(said) }),
    ...(facts.length > 0 && { facts }),
    ...(envelope.about && { about: envelope.about }),
  };
}

/** What each one said, without the many that say the same: who objected is worth more than who agreed. */
function shortened(said: readonly string[]): readonly string[] {
  if (said.length <= mostSaid) return said.map(cut);
  const isAccept = (text: string) => text.endsWith(" accept");
  const room = mostSaid - Math.min(said.filter((text) => !isAccept(text)).length, mostSaid);
  let accepts = 0;
  const kept = said.filter((text) => !isAccept(text) || ++accepts <= room).slice(0, mostSaid);
  return [...kept.map(cut), `and ${said.length - kept.length} more`];
}

function factsOf(
  about: readonly object[],
  told: (of: object) => ReadonlyMap<string, unknown> | undefined,
): (readonly [string, unknown])[] {
  const facts: (readonly [string, unknown])[] = [];
  let room = mostFacts;
  for (const [name, value] of about.flatMap((one) => [...told(one) ?? []])) {
    const { length } = JSON.stringify(value);
    room -= length;
    facts.push([name, length > longestFact || room < 0 ? "too long to be kept" : value]);
  }
  return facts;
}

const cut = (text: string): string => text.length > longestText ? `${text.slice(0, longestText)}…` : text;
