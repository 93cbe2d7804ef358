/** ARC (RFC 8617): who has forwarded this message, and what they found; and our own seal on what we forward. */
import { definePlugin, type Transaction, transport, z } from "../../server/plugin.ts";
import { type Arc, arc } from "../../server/facts.ts";
import { keyOption, openSigner } from "../authentication/keys.ts";
import { lookups } from "../authentication/lookups.ts";
import { type ArcData, loadArc, loadSigning, loadVerifier } from "../authentication/mailauth.ts";
import type { Field } from "../authentication/signature.ts";
import { isStranger } from "../authentication/strangers.ts";
import { reader } from "../authentication/verify.ts";
import { type Link, sealFor, type State } from "./seal.ts";

/** What is read of a message without a chain. */
const unchained: { readonly arc: ArcData } = { arc: { chain: false } };

/** What is known of a transaction's message. */
interface Notes {
  /** `undefined`: nothing is to be sealed. */
  state?: State;
  sealed?: Promise<readonly Field[]>;
}

/** The plugin `arc`. */
export default definePlugin({
  name: "arc",
  roles: ["mx"],
  options: z.object({
    seal: keyOption.optional()
      .describe("Key that seals what is forwarded to other servers; absent: chains are only verified"),
    transports: z.array(transport()).prefault(["smtp"])
      .describe("Transports that lead to other servers"),
  }),
  async setup(on, { seal, transports }, host) {
    const [read, check] = [reader(await loadVerifier()), await loadArc()];
    const tell = host.provides(arc);
    const notes = host.notes((_transaction: Transaction): Notes => ({}));

    on("data", async (session, message, transaction, { signal }) => {
      if (!isStranger(session)) return;
      const received = message.asReceived;
      const asked = lookups(host.dns, signal);
      const isChained = links.some((name) => received.headers.get(name) !== undefined);
      const reading = isChained ? await read(received, "ARC", asked.ask, host.clock.now()) : unchained;
      if (!reading) {
        tell(transaction, { result: "fail", sealers: [] });
        return message.addResult({
          method: "arc",
          result: "fail",
          comment: "the header is too large to be looked at",
        });
      }
      const data = reading.arc;
      const chain = data.chain || [];
      const words = found(chain); // before the check, which rewrites the newest results in place
      const { status } = await check(data, { resolver: asked.ask, strict: true });
      // For the package every failure is for good; ours may be DNS not answering.
      const result = status.result === "fail" && asked.failed ? "temperror" : status.result as Arc["result"];
      tell(transaction, result === "pass" ? { result, ...words } : { result, sealers: [] });
      message.addResult({
        method: "arc",
        result,
        ...(status.comment && result === "fail" && { comment: status.comment }),
        properties: { "smtp.remote-ip": isChained ? session.remote.address : "" },
      });
      const isOver = result === "temperror" || (result === "fail" && !status.shouldSeal);
      if (!isOver) {
        notes(transaction).state = {
          result,
          chain,
          fields: links.map((name) => message.headers.all(name)),
        };
      }
    });

    if (!seal) return;
    const [tools, signer] = [await loadSigning(), await openSigner(seal, host)];
    const onward = new Set(transports.map((one) => one.transport));
    on("dataFor", async (_session, recipient, message, transaction) => {
      const about = notes(transaction);
      if (!about.state || !recipient.targets.some(({ via }) => onward.has(via))) return;
      about.sealed ??= sealFor(message, about.state, signer, host.clock.now(), tools);
      for (const { name, value } of await about.sealed) recipient.prependHeader(name, value);
    });
  },
});

const links: readonly Link[] = ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"];

/** What the chain says, if it is worth anything. */
function found(chain: Exclude<ArcData["chain"], false>): Pick<Arc, "sealers" | "dmarc"> {
  const text = (value: unknown) => typeof value === "string" ? value.toLowerCase() : "";
  const sealers = chain.map((set) => text(set["arc-seal"].parsed["d"]?.value));
  const dmarc = text(chain[0]?.["arc-authentication-results"].parsed["dmarc"]?.value);
  return { sealers, ...(dmarc && { dmarc }) };
}
