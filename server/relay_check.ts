/** What no configuration may be, found by asking its plugins (promise 2): an open relay, or a domain without postmaster. */
import { Chain } from "./chain.ts";
import type { Clock } from "./clock.ts";
import { ClientSession, Envelope, ownMailParams } from "./envelope.ts";
import type { Generation } from "./generation.ts";
import type { Log } from "./log.ts";
import { networkOf } from "./listen/network.ts";
import { Phases } from "./phases.ts";
import { resolve, smtpTransport } from "./resolve.ts";
import { parseAddress } from "./smtp/address.ts";

/** Clients from everywhere; whoever relays for two of them relays for the world. */
const strangers = [
  "8.8.4.4",
  "62.1.2.3",
  "104.16.1.2",
  "133.1.2.3",
  "185.3.4.5",
  "203.0.113.9",
  "2001:db8::1",
  "2a00:1450::9",
];
/** A recipient that nobody can own (RFC 2606). */
const elsewhere = parseAddress("someone@elsewhere.invalid")!;
const sender = parseAddress("stranger@anywhere.invalid")!;

const silent: Log = { debug() {}, info() {}, warning() {}, error() {}, with: () => silent };

/**
 * Asks the plugins, as a dry run, whether strangers could send to other people's domains through this server.
 *
 * @returns What is wrong, in a sentence that says what to do; `undefined` where nothing is.
 */
export async function whyOpenRelay(generation: Generation, clock: Clock): Promise<string | undefined> {
  const chain = new Chain(generation, clock, silent);
  const relayed: string[] = [];
  let by = "";
  for (const address of strangers) {
    const found = await relaysFor(address, chain);
    if (found) [by] = [found, relayed.push(address)];
  }
  if (relayed.length < 2) return undefined;
  return `this would be an open relay: ${by} lets anybody, from ${relayed[0]} and ${
    relayed[1]
  } alike, send to other people's ` +
    "domains. Accept at `rcpt` only your own networks and users";
}

/** Who lets this client relay. */
async function relaysFor(address: string, chain: Chain): Promise<string | undefined> {
  const session = new ClientSession("check", "mx", "smtp", {
    address,
    network: networkOf(address),
    port: 49152,
  });
  session.helo = "client.invalid";
  const gone = new AbortController();
  const phases = new Phases(session, chain, {
    log: silent,
    ids: { session: () => "check", message: () => "check" },
    gone: gone.signal,
    noRoom: () => undefined,
    dry: () => {},
  });
  const envelope = new Envelope("check", sender, ownMailParams(false), () => Promise.resolve([]));
  phases.envelope = envelope;
  const params = { kind: "params" as const, params: new Map<string, string>() };
  const refused = await phases.answer({ about: "rcpt", recipient: elsewhere, params });
  gone.abort();
  if (refused) return undefined;
  const sendsOn = (via: string) => {
    const transport = chain.generation.transports.get(via);
    return via === smtpTransport || (transport !== undefined && "route" in transport);
  };
  return envelope.recipients[0]?.finals.find(({ via }) => sendsOn(via))?.by;
}

/** Says which owned domain has no postmaster (RFC 5321 §4.5.1, CASES A01). Trouble that may pass is none. */
export async function whyNoPostmaster(generation: Generation, clock: Clock): Promise<string | undefined> {
  const chain = new Chain(generation, clock, silent);
  for (const [domain, owner] of generation.owners) {
    const address = parseAddress(`postmaster@${domain}`);
    if (!address) continue;
    const resolution = await resolve(chain, address, { dryRun: true });
    const missing = resolution.kind === "refused" && resolution.reply.code >= 500;
    if (missing || (resolution.kind === "foreign" && !resolution.unsure)) {
      return `postmaster@${domain} is nobody's mailbox, and every domain needs one (RFC 5321 §4.5.1): ` +
        `add it where ${owner.name} knows its addresses`;
    }
  }
  return undefined;
}
