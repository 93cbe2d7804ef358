/** An ARC set (RFC 8617 §5.1): what we found, signed together with the message, and the chain sealed. */
import { Buffer } from "node:buffer";
import type { Arc } from "../../server/facts.ts";
import type { Message } from "../../server/plugin.ts";
import type { Signer } from "../authentication/keys.ts";
import type { ArcSet, Canon } from "../authentication/mailauth.ts";
import { type Field, hasAuthor, sign, signable, signMessage } from "../authentication/signature.ts";

/** The fields of a set. */
export type Link = "ARC-Seal" | "ARC-Message-Signature" | "ARC-Authentication-Results";

/** What was found of the chain, before it is sealed. */
export interface State {
  readonly result: Exclude<Arc["result"], "temperror">;
  /** The sets; `[]` where they can't be read. */
  readonly chain: readonly ArcSet[];
  /** The values of all fields of sets, whatever they are worth. */
  readonly fields: readonly (readonly string[])[];
}

/** RFC 8617 §4.2.1. */
const longestChain = 50;

/** The set's fields, in the order they are put on top; `[]` where there is nothing to seal. */
export async function sealFor(
  message: Message,
  state: State,
  signer: Signer,
  now: number,
  tools: Canon,
): Promise<readonly Field[]> {
  const instance = highest(state) + 1;
  const results = message.headers.get("Authentication-Results");
  const content = await signable(message);
  if (instance > longestChain || results === undefined || !hasAuthor(content)) return [];
  const found: Field = { name: "ARC-Authentication-Results", value: `i=${instance}; ${results}` };
  const signature = await signMessage(content, signer, { now, instance }, tools);
  const key = await signer.current();
  const line = (octets: Buffer) => tools.formatRelaxedLine(octets, "\r\n");
  // §5.1.2: a broken chain can't be signed; its seal covers its own set only.
  const before = state.result === "fail" ? [] : state.chain.flatMap((set) => [
    line(set["arc-authentication-results"].original),
    line(set["arc-message-signature"].original),
    line(set["arc-seal"].original),
  ]);
  const own = [found, signature].map(({ name, value }) => line(Buffer.from(`${name}: ${value}`)));
  const seal = await sign(
    "ARC-Seal",
    [
      ["i", String(instance)],
      ["a", key.algorithm],
      ["t", String(Math.floor(now / 1000))],
      ["cv", instance === 1 ? "none" : state.result],
      ["d", signer.domain],
      ["s", signer.selector],
    ],
    [...before, ...own],
    key,
    tools,
  );
  return [found, signature, seal];
}

/** The highest instance that any field claims: a new set never reuses one, also where the chain is broken (§5.1, step 3). */
function highest({ fields }: State): number {
  const instances = fields.flat().map((value) =>
    Number(/(?:^|;)\s*i\s*=\s*([0-9]{1,4})\s*(?:;|$)/.exec(value)?.[1] ?? 0)
  );
  return Math.max(0, ...instances);
}
