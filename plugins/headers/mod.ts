/** Checks a stranger's header: fields that are missing or there twice, authors that are forged, dates that can't be. */
import { because, definePlugin, duration, reject, z } from "../../server/plugin.ts";
import { dmarc } from "../../server/facts.ts";
import { domain } from "../addresses.ts";
import { apart, isReachable, isStranger } from "../authentication/strangers.ts";
import { problemsOf, type Rule, rules } from "./rules.ts";

const action = (fallback: "reject" | "flag" | "off", what: string) =>
  z.enum(["reject", "flag", "off"]).default(fallback).describe(what);

const options = z.object({
  missing: z.object({
    from: action("reject", "A message without `From`"),
    date: action("reject", "A message without `Date`"),
    "message-id": action("flag", "A message without `Message-ID`, which it should have"),
    to: action("off", "A message with none of `To`, `Cc` and `Bcc`, which is allowed"),
  }).prefault({}),
  duplicated: action(
    "reject",
    "A field twice that may be there once: `From`, `Date`, `Sender`, `Reply-To`, `To`, `Cc`, `Bcc`, `Message-ID`, `In-Reply-To`, `References`, `Subject`, `MIME-Version`, `Content-Type`, `Content-Transfer-Encoding`",
  ),
  several: action("flag", "Several authors in `From`, which is allowed and rare"),
  unreadable: action("flag", "A `From` in which no address can be read"),
  domains: z.array(domain).default([]).describe(
    "Domains of our own, those below them included: for `spoofed` and `forged`",
  ),
  spoofed: action("flag", "A name in `From` that claims one of `domains`, beside an address elsewhere"),
  forged: action(
    "flag",
    "An address in `From` of one of `domains`, of somebody who has not logged in; not where `dmarc` above says `pass`",
  ),
  date: action("flag", "A `Date` that is none, or further off than `past` and `future`"),
  past: duration("30d").describe("How old a message may be"),
  future: duration("2d").describe("How far ahead its sender's clock may be"),
  received: action("reject", "More than `hops` times `Received`: it goes round in circles"),
  hops: z.number().int().min(1).max(1000).default(50).describe(
    "How many servers a message may have come through",
  ),
});

const field = "X-Header-Problem";
/** Lines of a header, and of the log: more of the same tells nothing more. */
const mostTold = 10;

/** The plugin `headers`. */
export default definePlugin({
  name: "headers",
  roles: ["mx"],
  options,
  setup(on, options, host) {
    const { domains, past, future, hops, missing } = options;
    const dmarcOf = host.needs(dmarc, { optional: true });
    const actionOf = (rule: Rule) => {
      switch (rule) {
        case "missing.from":
          return missing.from;
        case "missing.date":
          return missing.date;
        case "missing.message-id":
          return missing["message-id"];
        case "missing.to":
          return missing.to;
        default:
          return options[rule];
      }
    };

    if (rules.some((rule) => actionOf(rule) === "reject")) on("rcpt", apart);

    on("data", (session, message, transaction) => {
      if (!isStranger(session)) return;
      if (message.headers.get(field) !== undefined) message.removeHeader(field); // whoever wrote it, it wasn't us
      const isProven = dmarcOf(transaction)?.result === "pass";
      const against = { domains, isProven, now: host.clock.now(), past, future, hops };
      const problems = problemsOf(message.asReceived.headers, against)
        .filter(({ rule }) => actionOf(rule) !== "off");
      const worst = problems.find(({ rule }) => actionOf(rule) === "reject");
      if (worst && !transaction.recipients.every(isReachable)) {
        return because(`${worst.rule}: reject`, reject("5.6.0", worst.text));
      }
      for (const { rule, text } of problems.slice(0, mostTold).toReversed()) {
        host.log.info("flagged", { id: transaction.id, rule, problem: text });
        message.prependHeader(field, text);
      }
    });
  },
});
