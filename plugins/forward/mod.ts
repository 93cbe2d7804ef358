/** Sends mail on: for addresses, domains and patterns, to other hosts or to other addresses, with SRS. */
import {
  accept,
  because,
  definePlugin,
  duration,
  type Headers,
  type HostHop,
  path,
  reject,
  type Target,
  type Transport,
  z,
} from "../../server/plugin.ts";
import { domain, isSameAddress, routed } from "../addresses.ts";
import {
  type Hosts,
  keepsLocalPart,
  type Rule,
  ruleOf,
  ruleOption,
  Rules,
  targetsOf,
  whyNoTarget,
} from "./rules.ts";
import { Senders } from "./senders.ts";
import type { Undone } from "./srs.ts";

const srs = z.object({
  domain: domain.describe("The domain of rewritten senders: one whose MX and SPF name this server"),
  keys: path().describe(
    "YAML file of keys, a list: the first signs, all are good for bounces; read again when it changes",
  ),
  maxAge: duration("21d").refine((ms) => ms <= 500 * 864e5, "must be at most 500d")
    .describe("How long bounces to a rewritten sender are taken"),
  except: z.array(domain).default([]).describe(
    "Domains whose senders stay as they are, as the server's own does",
  ),
});

const options = z.object({
  rules: z.record(z.string(), ruleOption).describe(
    "By address, `sales-*@example.org`, domain or `*.example.org`: an address, a list of them, or a mapping as below",
  ),
  domains: z.array(domain).default([])
    .describe("Domains of ours: an address there that nobody claims is unknown (550 5.1.1)"),
  srs: srs.optional().describe("Rewrites the senders of mail that goes to other addresses"),
}).superRefine(({ rules }, context) => {
  const table = new Rules();
  for (const [key, given] of Object.entries(rules)) {
    const problem = (message: string, ...path: (string | number)[]) =>
      context.addIssue({ code: "custom", message, path: ["rules", key, ...path] });
    const inside = typeof given === "object" && !Array.isArray(given);
    const to = inside ? given.to : given;
    [to ?? []].flat().forEach((target, at) => {
      const wrong = whyNoTarget(target);
      if (wrong) problem(wrong, ...inside ? ["to"] : [], ...Array.isArray(to) ? [at] : []);
    });
    const wrong = table.add(key, anyRule); // what is wrong with the rule itself has been said
    if (wrong) problem(wrong);
  }
});

const anyRule: Rule = { kind: "others", to: [], keep: false };

/** The plugin `forward`. */
export default definePlugin({
  name: "forward",
  options,
  async setup(on, { rules, domains, srs }, host) {
    if (domains.length > 0) host.owns(domains);
    const table = new Rules();
    for (const [key, given] of Object.entries(rules)) table.add(key, ruleOf(given));
    const senders = await Senders.open(srs, host);
    const turns = new Turns();

    const onward = host.relay("forward", async (recipient, message) => {
      const rule = table.find(recipient);
      const hops = rule?.kind === "hosts" ? { hops: turns.order(rule, message.id) } : {};
      if (!isForwarded(recipient)) {
        return accept({
          ...hops,
          ...rule?.kind === "hosts" && rule.srs && await senders.of(recipient.sender),
        });
      }
      if (wasHere(message.headers, recipient.original)) return looping;
      return accept({
        ...hops,
        ...await senders.of(recipient.sender),
        headers: [["Delivered-To", recipient.original]],
      });
    });
    const handedOn = accept({ via: onward });

    on("resolve", (recipient) => {
      if (senders.looksMade(recipient)) {
        return senders.read(recipient).then((found) => ledBack(found, onward));
      }
      const rule = table.find(recipient);
      if (!rule) return;
      if (keepsLocalPart(rule) && routed.test(recipient.local)) {
        return because(rule.key, reject("5.1.3", "No address with % or ! or a second @ is handed on"));
      }
      if (rule.kind === "hosts") return because(rule.key, handedOn);
      const to = targetsOf(rule, recipient);
      // Its own only target: whoever has the mailbox speaks next.
      if (to.length > 1 || !isSameAddress(to[0]!, recipient.address)) {
        return because(rule.key, accept({ to, onward }));
      }
    });

    // Once more at each attempt: there a refusal is a report, here the next server's to tell.
    on("dataFor", (_session, { address, targets }, message) => {
      const leaves = targets.some((target) => target.via === onward.transport && target.address !== address);
      if (leaves && wasHere(message.headers, address)) return looping;
    });
  },
});

/** Where an address leads that looks as if we had made it. */
function ledBack(found: Undone, onward: Transport) {
  switch (found.kind) {
    case "sender":
      return because("srs", accept({ to: [found.address], onward }));
    case "expired":
      return because("srs.maxAge", reject("5.1.1", "This address for bounces has expired"));
    case "forged":
      return because("srs.keys", reject("5.1.1", "This is no address of ours, though it looks like one"));
  }
}

const looping = reject("5.4.6", "This message was forwarded here before: mail loop");

/** Whether the copy goes to another address than it came for. */
const isForwarded = ({ address, original }: Target) => !isSameAddress(address, original);

function wasHere(headers: Headers, address: string): boolean {
  return headers.all("Delivered-To").some((value) =>
    isSameAddress(value.trim().replace(/^<(.*)>$/s, "$1"), address)
  );
}

/** Whose turn it is: each message begins with the next host, all its recipients with the same. */
class Turns {
  readonly #turns = new WeakMap<Hosts, { turn: number; id: string }>();

  order(rule: Hosts, id: string): readonly HostHop[] {
    const { hosts, order } = rule;
    if (order === "failover") return hosts;
    const last = this.#turns.get(rule);
    const turn = last === undefined ? 0 : last.id === id ? last.turn : (last.turn + 1) % hosts.length;
    this.#turns.set(rule, { turn, id });
    return [...hosts.slice(turn), ...hosts.slice(0, turn)];
  }
}
