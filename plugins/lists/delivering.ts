/** What becomes of mail that a list has taken: it is posted, answered with help, or given to the owners. */
import { defer, delivered, type Host, type Message, type Outcome, type Target } from "../../server/plugin.ts";
import type { List } from "./list.ts";
import type { Members } from "./members.ts";
import { posted } from "./posting.ts";
import { Progress } from "./progress.ts";

/** A list with its members. */
export interface Open {
  readonly list: List;
  readonly members: Members;
}

/** What is known of a message that may be posted. */
interface Permission {
  readonly utf8: boolean;
  /** The list that has posted it. */
  readonly parent?: string | undefined;
  /** The members couldn't be asked for, so that it is seen later who may post. */
  readonly undecided?: true;
}

/** What may be posted is noted before the reply, and posted once it is kept. */
export class Permissions {
  readonly #store: Host["store"];

  constructor({ store }: Pick<Host, "store">) {
    this.#store = store;
  }

  /** @param how `utf8`: it came under SMTPUTF8, and goes on so. */
  grant(id: string, list: List, how: Permission): Promise<void> {
    const { utf8, parent = null, undecided = false } = how;
    return this.#store.set(`may ${id} ${list.address}`, { utf8, parent, undecided }, { ttl });
  }

  async get(id: string, list: List): Promise<Permission | undefined> {
    const found = await this.#store.get<{ utf8: boolean; parent?: string | null; undecided?: boolean }>(
      `may ${id} ${list.address}`,
    );
    if (!found) return undefined;
    const { utf8, parent, undecided } = found;
    return { utf8, ...(parent != null && { parent }), ...(undecided && { undecided }) };
  }
}

/** Longer than anything waits in the queue. */
const ttl = "30d";

/** Members who share one message in the queue. */
const together = 1000;

/** Delivers for the lists of one instance. */
export class Delivering {
  readonly #host: Host;
  readonly #permissions: Permissions;

  constructor(host: Host, permissions: Permissions) {
    this.#host = host;
    this.#permissions = permissions;
  }

  /**
   * Posts it: a message of our own, to each member who is left. What a crash repeats is one message in the queue.
   *
   * @throws {Error} when the members can't be asked for, or nothing can be kept: it is tried again.
   */
  async post(message: Message, { list, members }: Open, signal: AbortSignal): Promise<Outcome> {
    const permission = await this.#permissions.get(message.id, list);
    if (!permission || message.headers.get("X-Refused") !== undefined) {
      return await this.#toOwners(message, list);
    }
    if (permission.undecided && list.whyNot(await members.all(), message.headers, permission.parent)) {
      return await this.#toOwners(message, list);
    }
    const progress = await Progress.open(
      this.#host.store,
      `${message.id} ${list.address}`,
      () => members.all(),
    );
    const gone: string[] = [];
    while (!progress.isOver) {
      if (signal.aborted) {
        if (gone.length > 0) await this.#tellOwners(list, gone); // they had their turn
        return defer("4.4.7", "Some members are still to have it");
      }
      const group = progress.next(list.isPersonal ? 1 : together);
      await progress.done(group, await this.#submit(message, list, group, { ...permission, gone }));
    }
    if (gone.length > 0) await this.#tellOwners(list, gone);
    if (await progress.finish() === "some are left") {
      return defer("4.2.4", "Some members can't be looked up now");
    }
    return delivered(`posted to members of ${list.address}`);
  }

  /** Mail for the list's robot: help for those who may post, else for the owners to answer. */
  async request(message: Message, { list, members }: Open, { sender }: Target): Promise<Outcome> {
    const { headers } = message;
    const isAutomatic = sender === "" || headers.get("List-Id") !== undefined ||
      !/^\s*no\b/i.test(headers.get("Auto-Submitted") ?? "no") ||
      /^\s*(?:bulk|list|junk)\b/i.test(headers.get("Precedence") ?? "");
    // RFC 3834 §2: no answer to what may be automatic, and none to strangers, whose address may be forged.
    if (isAutomatic || !list.permits(sender, await members.all())) return await this.#toOwners(message, list);
    const asked = await this.#host.store.increment(`help ${list.address} ${sender.toLowerCase()}`, 1, {
      ttl: "1d",
    });
    if (asked > 1) return delivered("answered today already");
    const content = help(list, sender, headers.get("Message-ID"));
    await this.#host.submit({ sender: "", recipients: [sender], content });
    return delivered(`help was sent to ${sender}`);
  }

  /** @returns Who can't be looked up now; who doesn't exist is added to `gone`. */
  async #submit(
    message: Message,
    list: List,
    group: readonly string[],
    { utf8, gone }: Permission & { gone: string[] },
  ): Promise<string[]> {
    const later: string[] = [];
    let refused = 0;
    const kept = this.#host.submit({
      sender: list.isPersonal ? list.senderTo(group[0]!) : list.bounces,
      recipients: group,
      content: await posted(message, list, group[0]!),
      utf8,
      refused(recipient, why) {
        refused++;
        if (why.verdict === "defer") later.push(recipient);
        else gone.push(`${recipient}: ${why.status} ${why.text}`);
      },
    });
    await kept.catch((error) => {
      if (refused < group.length) throw error; // else there is nobody left to send it to, and all of them are noted
    });
    return later;
  }

  /** It was not to be posted, or nobody has said that it may: never lost, never returned to a stranger. */
  async #toOwners(message: Message, list: List): Promise<Outcome> {
    await this.#host.submit({ sender: "", recipients: list.option.owners, content: message.stream() });
    return delivered(`given to the owners of ${list.address}`);
  }

  async #tellOwners(list: List, gone: readonly string[]): Promise<void> {
    const content = [
      `From: <${list.owner}>`,
      `To: <${list.owner}>`,
      `Subject: members of ${list.address} that don't exist`,
      "Auto-Submitted: auto-generated",
      "MIME-Version: 1.0",
      "Content-Type: text/plain; charset=utf-8",
      "Content-Transfer-Encoding: 8bit",
      "",
      "These members are refused here, and had no copy of the last message:",
      "",
      ...gone.map((one) => `  ${one}`),
      "",
    ].join("\r\n");
    await this.#host.submit({ sender: "", recipients: list.option.owners, content });
  }
}

function help(list: List, sender: string, about: string | undefined): string {
  const { post, name } = list.option;
  const who = { members: "its members", owners: "its owners", anyone: "anyone" }[post];
  return [
    `From: <${list.request}>`,
    `To: <${sender}>`,
    `Subject: ${list.address}: help`,
    ...about !== undefined && /^<[\x21-\x7e]{1,200}>$/.test(about) ? [`In-Reply-To: ${about}`] : [],
    "Auto-Submitted: auto-replied",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
    "",
    `${
      name === undefined ? "This list" : `The list ${name}`
    } is ${list.address}. What is sent there goes to all of its members;`,
    `it is open for mail from ${who}.`,
    "",
    `To leave, or to ask people: ${list.owner}`,
    ...list.option.unsubscribe !== undefined && !list.isPersonal
      ? [`To leave: ${list.option.unsubscribe}`]
      : [],
    "",
  ].join("\r\n");
}
