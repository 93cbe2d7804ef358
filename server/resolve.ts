/**
 * Where an address goes: asks `resolve`, and follows aliases until every target is a mailbox of some transport
 * (DESIGN §7, expansion).
 */
import { type Chain, type Hearing, isOnward, type Ruling } from "./chain.ts";
import type { FinalTarget } from "./envelope.ts";
import type { Instance } from "./generation.ts";
import type { Address, Transport } from "./plugin.ts";
import { toReply } from "./ruling.ts";
import { mailboxKey, parseAddress, sameMailbox } from "./smtp/address.ts";
import { isTemporary, replies, type Reply, reply } from "./smtp/reply.ts";

/** What became of one address. */
export type Resolution =
  /** It is ours. `refused` targets of an expansion are the alias's fault, not the client's. */
  | {
    readonly kind: "claimed";
    readonly by: string;
    readonly targets: readonly FinalTarget[];
    readonly refused: readonly { readonly address: string; readonly reply: Reply; readonly by: string }[];
  }
  | { readonly kind: "refused"; readonly by: string; readonly reply: Reply }
  /**
   * Nobody claims it, and it is in nobody's domain; `unsure`: a plugin that failed might have. `onward`: how it leaves, if it may,
   * instead of by `smtp`.
   */
  | { readonly kind: "foreign"; readonly unsure: boolean; readonly onward?: FinalTarget };

/** Aliases of aliases. */
const depth = 10;
/** Final targets and steps of one expansion. */
const most = 1000;
/** The transport of what leaves by SMTP. */
export const smtpTransport = "smtp";

const tooDeep = reply(550, "5.4.6", "This address is an alias that leads nowhere but to itself");

/** How the questions are asked. */
export interface ResolveHow {
  readonly gone?: AbortSignal | undefined;
  readonly dryRun?: boolean;
  readonly heard?: Hearing | undefined;
  readonly hearsAll?: boolean | undefined;
}

/** Resolves an address as given. Never throws: a plugin's failure is a `refused` with a temporary reply. */
export function resolve(chain: Chain, address: Address, how: ResolveHow): Resolution | Promise<Resolution> {
  if (address.domain === "") return resolvePostmaster(chain, address, how);
  const answer = ask(chain, address, how);
  return answer instanceof Promise
    ? answer.then((ruling) => settle(chain, address, ruling, how))
    : settle(chain, address, answer, how);
}

/** `<postmaster>` alone (RFC 5321 §4.5.1) is the first owned domain's, unless some plugin says otherwise. */
async function resolvePostmaster(chain: Chain, address: Address, how: ResolveHow): Promise<Resolution> {
  const own = await ask(chain, address, how);
  // How mail leaves that nobody here has is no word on whose this is: strangers would hear 550, and others write to the next hop's.
  const isSaid = own.kind !== "silence" && !(own.kind === "claim" && isOnward(own));
  if (isSaid) return settle(chain, address, own, how);
  const [domain] = chain.generation.owners.keys();
  const there = domain === undefined ? undefined : parseAddress(`postmaster@${domain}`);
  return there ? await resolve(chain, there, how) : await settle(chain, address, own, how);
}

function ask(chain: Chain, address: Address, how: ResolveHow, below?: Instance): Ruling | Promise<Ruling> {
  const matter = below || how.heard ? { ...how, below, about: address.address } : how;
  return chain.ask("resolve", matter, (handler, call) => handler(address, call));
}

/** From the first ruling about an address to its resolution; most need nothing more. */
function settle(
  chain: Chain,
  address: Address,
  ruling: Ruling,
  how: ResolveHow,
): Resolution | Promise<Resolution> {
  const step = read(chain, address, ruling);
  switch (step.kind) {
    case "final":
      return { kind: "claimed", by: step.target.by, targets: [step.target], refused: [] };
    case "expands":
      return expand(chain, address, step, how);
    default:
      return step;
  }
}

type Expands = Step & { kind: "expands" };
type Step =
  | Exclude<Resolution, { kind: "claimed" }>
  | { readonly kind: "final"; readonly target: FinalTarget }
  | {
    readonly kind: "expands";
    readonly to: readonly string[];
    /** The transport of targets that nobody claims. */
    readonly onward: string | undefined;
    readonly by: Instance;
  };

/** What one ruling of `resolve` means for this address. */
function read(chain: Chain, address: Address, ruling: Ruling): Step {
  switch (ruling.kind) {
    case "objection":
      return { kind: "refused", by: ruling.by, reply: toReply("resolve", ruling.verdict) };
    case "failure":
      return { kind: "refused", by: ruling.by, reply: replies.pluginFailed };
    case "silence":
      return unclaimed(chain, address, ruling.unsure);
    case "claim": {
      const { via, to, onward } = ruling.claim as {
        via?: Transport;
        to?: readonly string[];
        onward?: Transport;
      };
      if (via) return { kind: "final", target: { address, via: via.transport, by: ruling.by.name } };
      if (to === undefined) {
        return unclaimed(chain, address, ruling.unsure ?? false, {
          address,
          via: onward!.transport,
          by: ruling.by.name,
        });
      }
      return { kind: "expands", to, onward: onward?.transport, by: ruling.by };
    }
  }
}

/** What becomes of an address that nobody has: in an owned domain there is no such, elsewhere it may leave. */
function unclaimed(chain: Chain, address: Address, unsure: boolean, onward?: FinalTarget): Step {
  const owner = chain.generation.owners.get(address.domain);
  if (!owner) return { kind: "foreign", unsure, ...(onward && { onward }) };
  return { kind: "refused", by: owner.name, reply: unsure ? replies.pluginFailed : replies.noSuchUser };
}

/** A target to look at: what an alias made of `from`. */
interface Pending {
  readonly text: string;
  readonly from: Address;
  readonly by: Instance;
  /** How it leaves if nobody here claims it. */
  readonly onward: string | undefined;
  /** Whether the alias has other targets. */
  readonly among: boolean;
}

type Refused = { address: string; reply: Reply; by: string };

/** Follows an alias breadth first; each mailbox is visited once, so that loops and doubles drop out. */
async function expand(chain: Chain, origin: Address, first: Expands, how: ResolveHow): Promise<Resolution> {
  const seen = new Set([mailboxKey(origin)]);
  const copies = new Set<string>();
  const targets: FinalTarget[] = [];
  const refused: Refused[] = [];
  let level = pending(origin, first, undefined);
  for (let deep = 1; level.length > 0; deep++) {
    const next: Pending[] = [];
    for (const one of level) {
      const refuse = (reply: Reply, by = one.by.name) => refused.push({ address: one.text, reply, by });
      const address = parseAddress(one.text);
      if (!address || address.domain === "") {
        refuse(replies.badRecipient);
        continue;
      }
      // An alias that keeps a copy (alice: [alice, bob]) means the mailbox, which plugins below it know.
      const keepsCopy = one.among && sameMailbox(address, one.from);
      const visited = keepsCopy ? copies : seen;
      if (visited.has(mailboxKey(address))) continue;
      visited.add(mailboxKey(address));
      if (seen.size > most + 1) { // the origin is in there, too
        refuse(replies.tooManyRecipients);
        continue;
      }
      const step = read(chain, address, await ask(chain, address, how, keepsCopy ? one.by : undefined));
      if (step.kind === "final") targets.push(step.target);
      else if (step.kind === "expands" && deep < depth) next.push(...pending(address, step, one.onward));
      else if (step.kind === "expands") refuse(tooDeep, step.by.name);
      else if (step.kind === "refused") refuse(step.reply, step.by);
      else if (step.unsure) refuse(replies.pluginFailed);
      else targets.push({ address, via: one.onward ?? step.onward?.via ?? smtpTransport, by: one.by.name });
    }
    level = next;
  }
  return conclude(first.by.name, targets, refused);
}

/** @param inherited How targets leave, where the alias itself doesn't say. */
const pending = (from: Address, { to, by, onward }: Expands, inherited: string | undefined): Pending[] =>
  to.map((text) => ({ text, from, by, onward: onward ?? inherited, among: to.length > 1 }));

/** RCPT gets one reply for the address as given: a target that defers defers it, one that is kept carries it. */
function conclude(
  by: string,
  targets: FinalTarget[],
  refused: { address: string; reply: Reply; by: string }[],
): Resolution {
  const later = refused.find((one) => isTemporary(one.reply));
  if (later) return { kind: "refused", by: later.by, reply: later.reply };
  if (targets.length > 0) return { kind: "claimed", by, targets, refused };
  const [first] = refused;
  return first
    ? { kind: "refused", by: first.by, reply: first.reply }
    : { kind: "refused", by, reply: tooDeep };
}
