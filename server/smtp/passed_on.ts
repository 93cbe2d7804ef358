/** What a server behind us has said, as our own client is told it (RFC 5321 §4.2): its code, its status, its words made harmless. */
import { type ClientReply, isPositive, statusOf } from "./client_reply.ts";
import { type Reply, reply } from "./reply.ts";

/** Characters of its words that go on, and lines: refusals with advice in them have five or six. */
const longestText = 1024, mostLines = 10;

/** Codes that speak of our session with it, not of the client's mail: the operator's to mend, so the client tries again later. */
const ofOurSession: ReadonlySet<number> = new Set([530, 534, 535, 538]);

/** The reply, for a client. 421 would announce that we close, and becomes 451. */
export function passOn(said: ClientReply): Reply {
  const status = statusOf(said);
  const lines = linesOf(said, status);
  if (ofOurSession.has(said.code)) return reply(451, "4.3.5", ...lines);
  return reply(codeOf(said), status, ...lines);
}

function codeOf(said: ClientReply): number {
  const { code } = said;
  if (isPositive(said)) return code === 251 || code === 252 ? code : 250;
  if (code === 421) return 451;
  // The second digit ends at 5 (RFC 5321 §4.2): a client may take anything else for no reply at all.
  if (code % 100 >= 60) return code < 500 ? 451 : 550;
  return code;
}

/** Printable ASCII, without the status, which stands in front anew. */
function linesOf({ lines }: ClientReply, status: string): string[] {
  const told: string[] = [];
  let left = longestText;
  for (const line of lines.slice(0, mostLines)) {
    const words = line.startsWith(status) ? line.slice(status.length) : line;
    const text = words.slice(0, left).replaceAll(/[^\x20-\x7e]/gu, "?").trim();
    if (text === "") continue;
    told.push(text);
    left -= text.length;
    if (left <= 0) break;
  }
  return told.length > 0 ? told : [statusWords[status[0]!] ?? ""];
}

const statusWords: Readonly<Record<string, string>> = { 2: "OK", 4: "Not now", 5: "Refused" };
