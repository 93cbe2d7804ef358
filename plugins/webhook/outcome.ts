/** What a receiver's answer means for the message. Pure. */
import { defer, delivered, type Outcome, reject, retryAfter } from "../../server/plugin.ts";
import type { Answer } from "../gateway/receiver.ts";

/**
 * Refusals that say nothing about the message: of our credentials (401, 403, 407), of the moment (408, 409: the same key is under
 * way, 421, 423, 425, 429).
 */
const passing: ReadonlySet<number> = new Set([401, 403, 407, 408, 409, 421, 423, 425, 429]);

/** From an answer to an outcome: 2xx has it, 4xx never will, everything else is tried again. */
export function outcomeOf(answer: Answer, origin: string): Outcome {
  if (answer.kind === "failed") return defer("4.4.1", line(`${origin} can't be reached`, answer.text));
  const { status, text } = answer;
  const said = line(`${origin} says ${status}`, text);
  if (status >= 200 && status < 300) return delivered(said);
  if (status >= 400 && status < 500 && !passing.has(status)) {
    return status === 413
      ? reject("5.3.4", text || "The message is too large for its receiver", 552)
      : reject("5.2.0", text || `The receiver refuses the message (HTTP ${status})`);
  }
  const redirects = status >= 300 && status < 400;
  const later = defer(
    redirects ? "4.3.5" : "4.4.2",
    redirects ? `${said}: redirects are not followed` : said,
  );
  return answer.retryAfter === undefined ? later : retryAfter(answer.retryAfter, later);
}

/** One line of what may stand in a reply. */
const line = (what: string, text: string) => (text === "" ? what : `${what}: ${text}`).slice(0, 400);
