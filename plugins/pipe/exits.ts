/** What an exit code means (sysexits.h). Pure. */
import {
  defer,
  delivered,
  type Outcome,
  type Permanent,
  reject,
  type Temporary,
} from "../../server/plugin.ts";

/** How a command ended. */
export type Ended =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "killed"; readonly signal: string }
  /** It took longer than it may. */
  | { readonly kind: "late" }
  /** Nobody waits for it any more: the server goes down, or the client has gone. */
  | { readonly kind: "called-off" }
  /** It could not be given the whole message. */
  | { readonly kind: "unfed"; readonly why: string }
  | { readonly kind: "not-started"; readonly why: string };

/** What an operator says of exit codes that mean something else. */
export type Verdicts = ReadonlyMap<number, "delivered" | "defer" | "reject">;

interface Exit {
  readonly status: Permanent | Temporary;
  /** What is said where the command says nothing. */
  readonly text: string;
}

/**
 * Only what tells of this message or this address fails for good; what an operator can put right (a wrong option, a missing
 * file, a full disk) is tried again. Codes that aren't here are temporary, too.
 */
const exits: ReadonlyMap<number, Exit> = new Map([
  [64, { status: "4.3.5", text: "The command was called wrongly" }],
  [65, { status: "5.6.0", text: "The message can't be processed" }],
  [66, { status: "4.3.0", text: "The command could not open its input" }],
  [67, { status: "5.1.1", text: "No such user" }],
  [68, { status: "5.1.2", text: "No such host" }],
  [69, { status: "5.3.0", text: "Not available" }],
  [70, { status: "4.3.0", text: "The command has an error" }],
  [71, { status: "4.3.0", text: "The system has an error" }],
  [72, { status: "4.3.5", text: "A file of the system is missing" }],
  [73, { status: "4.2.0", text: "The message could not be written" }],
  [74, { status: "4.3.0", text: "The message could not be written" }],
  [75, { status: "4.3.0", text: "The command asks to try again later" }],
  [76, { status: "5.5.0", text: "The command met an error of protocol" }],
  [77, { status: "5.7.0", text: "Not permitted" }],
  [78, { status: "4.3.5", text: "The command is not set up rightly" }],
]);

const unknown: Exit = { status: "4.3.0", text: "The command failed" };
const refused: Exit = { status: "5.3.0", text: "The command refused the message" };

/** Characters of what a command prints that a sender may read. */
const longestText = 300;

/** The outcome for a recipient. @param printed What the command wrote, standard output and error together. */
export function outcomeOf(ended: Ended, printed: string, verdicts: Verdicts): Outcome {
  switch (ended.kind) {
    case "exited":
      return exited(ended.code, printed, verdicts.get(ended.code));
    case "killed":
      return defer("4.3.0", "The command was ended by a signal, please try later");
    case "late":
      return defer("4.3.0", "The command took too long, please try later");
    case "called-off":
      return defer("4.3.2", "Delivery was broken off, please try again");
    case "unfed":
      return defer("4.3.0", "The message could not be read, please try later");
    case "not-started":
      return defer("4.3.5", "The command could not be started, please try later");
  }
}

function exited(code: number, printed: string, said: "delivered" | "defer" | "reject" | undefined): Outcome {
  const { status: own, text } = oneLine(printed);
  if (said === "delivered" || (said === undefined && code === 0)) {
    return delivered(text || "taken by the command");
  }
  const usual = exits.get(code) ?? unknown;
  const exit = said === undefined || usual.status.startsWith(said === "defer" ? "4" : "5")
    ? usual
    : said === "reject"
    ? refused
    : unknown;
  // The command's own status, where it is of the class its exit code is of.
  const status = own?.[0] === exit.status[0] ? own! : exit.status;
  return status.startsWith("5")
    ? reject(status as Permanent, text || exit.text)
    : defer(status as Temporary, text || exit.text);
}

/** One line of text, and the enhanced status code (RFC 3463) it began with. */
function oneLine(printed: string): { readonly status?: string; readonly text: string } {
  const line = printed.replaceAll(/[\s\p{Cc}]+/gu, " ").trim();
  const [, status, rest] = /^([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: (.*))?$/.exec(line) ?? [];
  const text = rest ?? (status === undefined ? line : "");
  const cut = text.length > longestText ? `${text.slice(0, longestText).toWellFormed()}...` : text;
  return { ...(status !== undefined && { status }), text: cut };
}
