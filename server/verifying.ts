/** Whether a next hop would take mail for an address: it is asked at RCPT, and hears no message (`host.verify`). */
import type { Answer, Passing } from "./delivery/passing.ts";
import type { Host } from "./plugin.ts";
import { replyOf } from "./proxying.ts";
import { toObjection } from "./ruling.ts";
import { needsSmtpUtf8, parseAddress } from "./smtp/address.ts";
import { isPositive } from "./smtp/reply.ts";
import { type Accept, accept, type Defer, defer, type NoClaim, type Reject } from "./verdict.ts";

/** Nobody's: our own question. */
const nobody = {
  address: "internal",
  port: 0,
  helo: undefined,
  protocol: "ESMTP",
  login: undefined,
  id: "verify",
} as const;

/** Asks by the ways that proxies have, so that connections are kept for the next question. */
export function verifier(passing: () => Passing): Host["verify"] {
  return async (text, { hops, signal }) => {
    const address = parseAddress(text);
    if (!address || address.domain === "") {
      throw new TypeError(`verify: ${JSON.stringify(text)} is not an address`);
    }
    if (hops.some(({ protocol }) => protocol === "lmtp")) {
      throw new TypeError("verify: the next hop speaks SMTP");
    }
    const opened = await passing().open({
      hops,
      // RFC 5321 §4.5.5: nobody can answer the null sender, so that no question is asked in return.
      mail: { sender: "", size: undefined, utf8: needsSmtpUtf8(address) },
      first: { address: address.address, original: address.address },
      client: nobody,
      xclient: false,
      xforward: false,
      signal,
    });
    if (opened.kind === "refused") return notAsked(opened.answer);
    await opened.passage.release();
    return wordOf(opened.answer);
  };
}

/** What it said about the recipient. */
function wordOf(answer: Answer): Accept<NoClaim> | Reject | Defer {
  const said = replyOf(answer);
  if (answer.kind === "deferred") return notAsked(answer);
  if (isPositive(said)) return accept();
  const objection = toObjection(said);
  if (objection.verdict === "reject") return { ...objection, code: said.code as NonNullable<Reject["code"]> };
  return defer("4.4.0", objection.text);
}

/** It was not told whom this is about: that is no word about an address, however permanent it sounds. */
function notAsked(answer: Answer): Defer {
  if (answer.kind !== "deferred") return defer("4.4.0", `MAIL was refused: ${wordsOf(answer)}`);
  const { host, reply } = answer.deferral;
  return defer("4.4.1", host === undefined ? reply : `${host}: ${reply}`);
}

function wordsOf(answer: Answer): string {
  const { code, lines } = replyOf(answer);
  return `${code} ${lines.join(" ")}`;
}
