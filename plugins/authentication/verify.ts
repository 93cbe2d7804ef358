/** Reads a message once, and says what its signatures are worth; within bounds, for a stranger chooses what there is to read. */
import type { Message } from "../../server/plugin.ts";
import { BodyHash } from "./body_hash.ts";
import { type Parts, partsOf } from "./content.ts";
import type { Ask } from "./lookups.ts";
import type { Prepared, Verifier, VerifierClass } from "./mailauth.ts";

/** How many signatures of a message are looked at, from the top: each costs a lookup and a verification (RFC 6376 §6.1). */
const mostSignatures = 10;
/** How many fields a signature may name, and a message may have: the one is looked for among the others. */
const [mostNames, mostFields] = [500, 1000];
/** Octets of a field that is taken apart. */
const longestField = 8192;
const takenApart = /^(?:dkim-signature|arc-.*|from|content-type)$/;

const passedOver = "not looked at: there are too many";

/** Reads messages; `undefined`: it has more fields, or longer ones, than anybody needs. */
export interface Reading {
  /** @param type Which signatures: `DKIM`, or the newest `ARC` message signature. */
  (message: Message, type: Prepared["type"], ask: Ask, now: number): Promise<Verifier | undefined>;
}

/** @param Base The package's own, of `loadVerifier`. */
export function reader(Base: VerifierClass): Reading {
  class Bounded extends Base {
    type: Prepared["type"] = "DKIM";
    #seen = 0;

    override prepareSignature(signature: Prepared): void {
      super.prepareSignature(signature);
      const names = String(signature.parsed?.["h"]?.value ?? "").split(":").length;
      if (signature.type !== this.type) signature.skip = "not asked for";
      else if (++this.#seen > mostSignatures) signature.skip = passedOver;
      else if (names > mostNames) signature.skip = "it names too many fields";
    }

    override addBodyHash(
      form: "simple" | "relaxed",
      algorithm: "sha1" | "sha256",
      limit: number | "",
    ): string {
      const key = [form, algorithm, limit].join(":");
      if (!this.bodyHashes.has(key)) {
        this.bodyHashes.set(key, new BodyHash(form, algorithm, limit === "" ? Infinity : limit));
      }
      return key;
    }
  }
  return async (message, type, ask, now) => {
    const { rows, body } = await partsOf(message);
    if (isTooMuch(rows)) return undefined;
    const verifier = new Bounded({
      resolver: ask,
      strict: true,
      curTime: new Date(now),
      sender: "not@asked.for",
    });
    verifier.type = type;
    verifier.headers = { parsed: rows };
    await verifier.messageHeaders(verifier.headers);
    for await (const piece of body) await verifier.nextChunk(piece);
    await verifier.finalChunk();
    return verifier;
  };
}

/** White space that is searched for an end takes quadratic time; nobody folds like this. */
const blanks = /[ \t\r\n]{200}/;

function isTooMuch(rows: Parts["rows"]): boolean {
  if (rows.length > mostFields) return true;
  return rows.some(({ key, line }) =>
    takenApart.test(key) && (line.length > longestField || blanks.test(line.toString("latin1")))
  );
}

/** The results of signatures that were looked at. */
export function lookedAt({ results }: Verifier): Verifier["results"] {
  return results.filter(({ status }) => status.comment !== passedOver && status.comment !== "not asked for");
}
