/** DKIM (RFC 6376, 8301, 8463): who has signed this message? */
import { definePlugin } from "../server/plugin.ts";
import { type Dkim, dkim } from "../server/facts.ts";
import { lookups } from "./authentication/lookups.ts";
import { loadVerifier, type SignatureResult } from "./authentication/mailauth.ts";
import { isStranger } from "./authentication/strangers.ts";
import { lookedAt, reader } from "./authentication/verify.ts";

/** The plugin `dkim`. */
export default definePlugin({
  name: "dkim",
  roles: ["mx"],
  async setup(on, _options, host) {
    const read = reader(await loadVerifier());
    const tell = host.provides(dkim);

    on("data", async (session, message, transaction, { signal }) => {
      if (!isStranger(session)) return;
      const received = message.asReceived;
      if (received.headers.get("DKIM-Signature") === undefined) {
        tell(transaction, []);
        return message.addResult({ method: "dkim", result: "none" });
      }
      const verifier = await read(received, "DKIM", lookups(host.dns, signal).ask, host.clock.now());
      if (!verifier) {
        tell(transaction, []);
        return message.addResult({
          method: "dkim",
          result: "neutral",
          comment: "the header is too large to be looked at",
        });
      }
      const judged = lookedAt(verifier).map(judge);
      tell(transaction, judged.map(({ found }) => found));
      for (const { found, status, comment } of judged) {
        const { d = "", i = "", s = "", a = "", b = "" } = named(status.header);
        message.addResult({
          method: "dkim",
          result: found.result,
          ...(comment && { comment }),
          properties: {
            ...status.policy && { "policy.dkim-rules": status.policy["dkim-rules"] ?? "" },
            "header.d": d,
            "header.i": i,
            "header.s": s,
            "header.a": a,
            "header.b": b,
          },
        });
      }
    });
  },
});

function judge({ status, signingDomain = "", selector = "" }: SignatureResult) {
  // With `l=` anybody can go on writing below what is signed (RFC 6376 §8.2): that says nothing about the message.
  const cut = status.result === "pass" && (status.underSized ?? 0) > 0;
  const found: Dkim = {
    result: cut ? "policy" : status.result as Dkim["result"],
    domain: signingDomain.toLowerCase(),
    selector,
  };
  const said = cut ? `${status.underSized} octets are not signed` : status.comment;
  return { found, status, comment: said ?? (status.testing ? "testing" : undefined) };
}

/** Properties that have a value. */
function named(header: SignatureResult["status"]["header"] = {}): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(header).filter((entry): entry is [string, string] => !!entry[1]));
}
