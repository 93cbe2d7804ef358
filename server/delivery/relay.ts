/** Relays: transports of plugins that the server's own client carries. Here the plugin is asked how a copy leaves. */
import type { Clock } from "../clock.ts";
import type { RelayTransport } from "../generation.ts";
import type { Log } from "../log.ts";
import { makeField } from "../message/field.ts";
import type { Accept, Defer, Hop, Message, Reject, RelayClaim, Target } from "../plugin.ts";
import { readVerdict } from "../ruling.ts";
import { parseAddress } from "../smtp/address.ts";
import { inTime, inWords, TransportCall } from "./carry.ts";

/** How one copy leaves; what is absent is as the envelope and the configuration have it. */
export interface Way {
  readonly hops?: readonly Hop[];
  /** What MAIL says; `""` is the null sender. */
  readonly sender?: string;
  /** Raw lines, each with its CRLF, above everything else. */
  readonly top?: readonly string[];
}

/** What asking came to; `failed`: the plugin could not say. */
export type Asked =
  | { readonly kind: "way"; readonly way: Way }
  | { readonly kind: "objection"; readonly verdict: Reject | Defer }
  | { readonly kind: "failed" };

/** What asking needs. */
export interface AskHow {
  readonly clock: Clock;
  readonly log: Log;
  /** Aborts when the server can wait no longer. */
  readonly gone: AbortSignal;
}

/** Asks a relay's plugin how this recipient's copy leaves. Never rejects. */
export async function askRelay(
  relay: RelayTransport,
  recipient: Target,
  message: Message,
  { clock, log, gone }: AskHow,
): Promise<Asked> {
  const call = new TransportCall(1);
  try {
    gone.throwIfAborted();
    const said = relay.route(recipient, message, call);
    const verdict = readVerdict(
      "relay",
      await inTime(relay.by, Promise.resolve(said), call, { clock, gone }),
    );
    if (verdict === undefined) return { kind: "way", way: {} };
    if (verdict.verdict === "accept") return { kind: "way", way: wayOf(verdict as Accept<RelayClaim>) };
    return { kind: "objection", verdict: verdict as Reject | Defer };
  } catch (error) {
    log.error("relay failed", {
      id: message.id,
      transport: relay.name,
      plugin: relay.by.name,
      error: inWords(error),
    });
    return { kind: "failed" };
  }
}

/** @throws {TypeError} where a header field is none. */
function wayOf({ claim: { hops, sender, headers } }: Accept<RelayClaim>): Way {
  return {
    ...(hops && { hops }),
    ...(sender !== undefined && { sender: parseAddress(sender)!.address }),
    ...(headers && { top: headers.map(([name, value]) => makeField(name, value)) }),
  };
}
