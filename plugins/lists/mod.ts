/** Mailing lists: what members post goes to all of them, bounces go to the owners. */
import {
  accept,
  because,
  type Cidr,
  cidr,
  definePlugin,
  type Host,
  type On,
  type Recipient,
  type Reject,
  reject,
  type Session,
  type Transaction,
  z,
} from "../../server/plugin.ts";
import { domain, fold, isSameAddress, split } from "../addresses.ts";
import { keepingFor } from "../directory/directory.ts";
import { Delivering, type Open, Permissions } from "./delivering.ts";
import { bare, isAddress, type List, listOption, Lists, noBounces } from "./list.ts";
import { openMembers } from "./members.ts";

const options = z.object({
  lists: z.record(z.string().meta({ title: "ADDRESS" }), listOption).describe(
    "By address, `team@example.org`: a mapping as below",
  ),
  domains: z.array(domain).default([])
    .describe("Domains of ours: an address there that nobody claims is unknown (550 5.1.1)"),
  networks: z.array(cidr()).default([]).describe(
    "Clients that may ask who is on a list (EXPN), as its members may",
  ),
  cache: keepingFor("1m").describe("How long answers of `sql` are kept"),
}).superRefine(({ lists }, context) => {
  const seen = new Set<string>();
  for (const text of Object.keys(lists)) {
    const problem = (message: string) => context.addIssue({ code: "custom", message, path: ["lists", text] });
    if (!isAddress(text)) {
      problem(`"${text}" is not an address such as team@example.org`);
      continue;
    }
    const { local, domain } = split(text);
    const key = `${fold(local)}@${domain}`;
    if (seen.has(key)) problem(`"${text}" stands here twice`);
    seen.add(key);
    if (local.includes("+")) problem("a list's address has no +tag");
    if (/-(?:owner|bounces|request)$/i.test(local)) {
      problem("ends like an address that belongs to another list");
    }
  }
});

/** Longer than one answer of a plugin: a personal list is one message for each member. */
const patience = 600_000;

/** The plugin `lists`. */
export default definePlugin({
  name: "lists",
  options,
  async setup(on, { lists: listed, domains, networks, cache }, host) {
    if (domains.length > 0) host.owns(domains);
    const lists = new Lists(listed);
    const open = await openAll(lists, cache, host);
    const permissions = new Permissions(host);
    const delivering = new Delivering(host, permissions);

    const via = host.transport("lists", async (message, [target], { signal }) => {
      const found = lists.find(target!);
      if (!found) return reject("5.1.1", "There is no such list any more");
      const there = open.get(found.list)!;
      if (found.role === "request") return await delivering.request(message, there, target!);
      return await delivering.post(message, there, signal);
    }, { timeout: patience });
    const toMembers = host.relay("lists-members", ({ sender, original }) => {
      const from = [...lists].find((list) => isSameAddress(list.bounces, sender));
      return from && accept({ sender: from.senderTo(original) });
    });

    on("resolve", (recipient) => {
      const found = lists.find(recipient);
      if (!found) return;
      const { list, role } = found;
      const rule = `the list ${list.address}`;
      if (role === "owner" || role === "bounces") return because(rule, accept({ to: list.option.owners }));
      // One address for all of its tags, so that who names several of them posts once.
      const isTagged = role === "post" && fold(recipient.local) !== recipient.user;
      return because(rule, isTagged ? accept({ to: [list.address] }) : accept({ via }));
    });

    on("rcpt", (_session, recipient, { sender }) => {
      const found = lists.find(recipient);
      // Reports on what was posted go to the list's -bounces; what comes here from nobody is none.
      if (found?.role === "post" && sender.address === "") {
        return because(`the list ${found.list.address}`, noBounces);
      }
    });

    on("dataFor", async (session, recipient, message, transaction, { dryRun }) => {
      const parent = parentOf(lists, session, transaction);
      if (parent && leavesAlone(parent, recipient)) return accept({ via: toMembers });
      const refused: Reject[] = [];
      for (const { address, via: way } of recipient.targets) {
        const found = way === via.transport ? lists.find(parts(address)) : undefined;
        if (found?.role !== "post") continue;
        const { list, members } = open.get(found.list)!;
        const grant = async (more: { undecided?: true } = {}) => {
          const how = { utf8: transaction.params.has("SMTPUTF8"), parent: parent?.address, ...more };
          if (!dryRun) await permissions.grant(transaction.id, list, how);
        };
        const all = async () => {
          try {
            return await members.all();
          } catch (error) {
            // Where others take the message it is in the queue all the same, and this is not asked again.
            await grant({ undecided: true });
            throw error;
          }
        };
        const why = list.refusal(message.headers, transaction.sender.address) ??
          list.whyNot(await all(), message.headers, parent?.address);
        if (why) refused.push(because(`the list ${list.address}`, why));
        else await grant();
      }
      // Where an alias leads elsewhere, too, the list's owners have this one's copy.
      if (refused.length > 0 && refused.length === recipient.targets.length) return refused[0]!;
    });
    answerExpn(on, lists, open, networks);

    return () => open.forEach(({ members }) => members.close());
  },
});

/** Members and owners may see who is on a list; to anyone else a list is like nothing at all. */
function answerExpn(on: On, lists: Lists, open: ReadonlyMap<List, Open>, networks: readonly Cidr[]): void {
  const mayAsk = async ({ user, remote }: Session, { list, members }: Open) =>
    networks.some((network) => network.has(remote.address)) ||
    (user !== undefined &&
      [...list.option.owners, ...await members.all()].some((one) => isSameAddress(one, user.name)));

  on("expn", async (session, text) => {
    const address = bare(text);
    const found = isAddress(address) ? lists.find(parts(address)) : undefined;
    if (found?.role !== "post" || !await mayAsk(session, open.get(found.list)!)) return;
    const all = await open.get(found.list)!.members.all();
    return all.length === 0
      ? reject("5.2.4", "This list has no members")
      : accept({ reply: all.map((one) => `<${one}>`) });
  });
}

/** Whether a member's copy leaves by SMTP, so that it has a sender of its own; one that is a message of its own has it already. */
function leavesAlone(list: List, { targets }: Recipient): boolean {
  return list.option.verp && !list.isPersonal && targets.length === 1 && targets[0]!.via === "smtp";
}

async function openAll(
  lists: Lists,
  cache: Parameters<typeof openMembers>[1],
  host: Host,
): Promise<Map<List, Open>> {
  const open = new Map<List, Open>();
  for (const list of lists) open.set(list, { list, members: await openMembers(list, cache, host) });
  return open;
}

/** The list that has posted this: a list may be a member of another. What a client says of itself counts for nothing. */
function parentOf(lists: Lists, session: Session, { sender }: Transaction): List | undefined {
  if (session.protocol !== "internal") return undefined;
  const found = lists.find(sender);
  return found?.role === "bounces" ? found.list : undefined;
}

/** By what an address is looked up. */
function parts(text: string): { readonly user: string; readonly domain: string } {
  const { local, domain = "" } = split(text);
  return { user: fold(local.split("+", 1)[0]!), domain };
}
