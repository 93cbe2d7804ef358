/** Whether the DNS servers validate answers (DNSSEC), so that DANE can be used: asked once, at start. */
import type { Query } from "../dns.ts";
import type { Server } from "./exchange.ts";
import { isLoopback, serverText } from "./servers.ts";

/** What was learnt. */
export type Probed =
  | { readonly kind: "validates" }
  /** `why` is for people, and says what to do. */
  | { readonly kind: "does-not"; readonly why: string };

/** What is asked, and of whom. */
export interface ProbeHow {
  readonly query: Query;
  /** A domain that is signed. */
  readonly name: string;
  readonly servers: readonly Server[];
  /** Whether servers on other machines are believed. */
  readonly trustAd: boolean;
}

/** Asks for a signed domain. Nothing is asked where the answer would not be believed anyway. */
export async function probeDnssec({ query, name, servers, trustAd }: ProbeHow): Promise<Probed> {
  const distant = trustAd ? undefined : servers.find((server) => !isLoopback(server));
  if (distant !== undefined) {
    const why =
      `the DNS server ${
        serverText(distant)
      } is on another machine, where anyone on the way could say that an ` +
      "answer was validated: run a validating one on this machine (such as unbound), or write `dns: { trustAd: true }` " +
      "where the way is safe";
    return { kind: "does-not", why };
  }
  const found = await query(name, "A");
  if (found.kind === "failed") {
    return {
      kind: "does-not",
      why: `the DNS server ${found.server} could not be asked for ${name} (${found.reason})`,
    };
  }
  if (found.ad) return { kind: "validates" };
  const list = servers.map(serverText).join(", ");
  return {
    kind: "does-not",
    why:
      `the DNS server ${list} does not say that ${name}, which is signed, was validated: turn validation on there`,
  };
}
