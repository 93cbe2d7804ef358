/** From a filter's answer to a verdict of ours. */
import { because, defer, disconnect, type Objection, reject } from "../../server/plugin.ts";
import type { Answer } from "./replies.ts";

/** What an answer means for the command it was given to. */
export type Meaning =
  | { readonly kind: "go on" }
  /** The filter has nothing more to say: to this message, or to the connection where it said so before MAIL. */
  | { readonly kind: "content" }
  /** The message is taken, and goes nowhere. */
  | { readonly kind: "discard" }
  | { readonly kind: "objection"; readonly objection: Objection };

const goOn: Meaning = { kind: "go on" };

/** Reads an answer. */
export function meaningOf(answer: Answer): Meaning {
  switch (answer.kind) {
    case "continue":
    case "skip": // of the body: whoever sends that looks for it
      return goOn;
    case "accept":
      return { kind: "content" };
    case "discard":
      return { kind: "discard" };
    case "reject":
      return refused("reject", reject("5.7.1", "Refused by the mail filter"));
    case "tempfail":
      return refused("tempfail", defer("4.7.1", "The mail filter asks to try again later"));
    case "shut down":
    case "fail connection":
      return refused(answer.kind, disconnect("4.3.2", "The mail filter takes no mail now"));
    case "reply":
      return refused(`reply ${answer.code}`, ofReply(answer));
  }
}

const refused = (rule: string, objection: Objection): Meaning => ({
  kind: "objection",
  objection: because(rule, objection),
});

const permanent = [501, 502, 503, 504, 521, 530, 535, 538, 550, 551, 552, 553, 554, 555, 556] as const;
const temporary = [450, 451, 452, 454, 455, 458, 459] as const;

/** The code is kept where a plugin may say it; the status where it fits the code. */
function ofReply({ code, status, text: said }: Answer & { readonly kind: "reply" }): Objection {
  const text = said === "" ? "Refused by the mail filter" : said;
  if (code >= 500) {
    const detail = status?.startsWith("5.") ? status as `5.${number}.${number}` : "5.7.1";
    return reject(detail, text, permanent.find((one) => one === code));
  }
  const detail = status?.startsWith("4.") ? status as `4.${number}.${number}` : "4.7.1";
  if (code === 421) return disconnect(detail, text);
  return defer(detail, text, temporary.find((one) => one === code));
}
