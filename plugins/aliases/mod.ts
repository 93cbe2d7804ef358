/** Sends mail for one address to others: aliases, small lists, catch-alls. Answers VRFY and EXPN for our own people. */
import {
  accept,
  because,
  cidr,
  definePlugin,
  path,
  reject,
  type Session,
  transport,
  z,
} from "../../server/plugin.ts";
import { domain, fold, split } from "../addresses.ts";
import { followYaml } from "../yaml_file.ts";
import { type Asked, readTable, Table } from "./table.ts";

const options = z.object({
  file: path().optional()
    .describe(
      "YAML file of aliases, `alias: address` or `alias: [address, address]`; read again when it changes",
    ),
  aliases: z.record(z.string(), z.union([z.string(), z.array(z.string())])).optional()
    .describe("The aliases themselves, instead of a file"),
  domains: z.array(domain).default([])
    .describe(
      "Domains that aliases without one apply in; an address there that nobody claims is unknown (550 5.1.1)",
    ),
  internal: z.array(z.string()).default([])
    .describe("Aliases that only authenticated users and `networks` may write to"),
  networks: z.array(cidr()).default([])
    .describe(
      "Clients that may do what authenticated users may: write to `internal` aliases, ask VRFY and EXPN",
    ),
  onward: transport().optional()
    .describe("Transport for targets that nobody here knows, such as `forward`; default: smtp"),
}).superRefine(({ file, aliases, domains, internal }, context) => {
  const problem = (message: string, ...path: (string | number)[]) =>
    context.addIssue({ code: "custom", message, path });
  if (file === undefined && aliases === undefined) {
    problem("aliases stand in a `file` or under `aliases`: give one of them");
  }
  if (file !== undefined && aliases !== undefined) {
    problem("aliases stand in `file` or here, not in both", "aliases");
  }
  const table = new Table(domains);
  for (const [key, targets] of Object.entries(aliases ?? {})) {
    const wrong = table.add(key, [targets].flat());
    if (wrong) problem(wrong, "aliases", key);
  }
  for (const [index, text] of internal.entries()) {
    const { local, domain } = split(text);
    if (local === "" || (domain === undefined && domains.length === 0)) {
      problem(`"${text}" is not an address such as staff@example.org`, "internal", index);
    }
  }
});

/** The plugin `aliases`. */
export default definePlugin({
  name: "aliases",
  options,
  async setup(on, { file, aliases, domains, internal, networks, onward }, host) {
    if (domains.length > 0) host.owns(domains);
    const fixed = new Table(domains);
    for (const [key, targets] of Object.entries(aliases ?? {})) fixed.add(key, [targets].flat());
    const table = file === undefined
      ? { current: () => fixed }
      : await followYaml(file, (root, problem) => readTable(root, problem, domains), host);
    const members = memberOnly(internal, domains);

    const isOurs = (session: Session) =>
      session.user !== undefined || networks.some((network) => network.has(session.remote.address));

    if (internal.length > 0) {
      on("rcpt", (session, recipient) => {
        if (members(recipient) && !isOurs(session)) {
          return because("internal", reject("5.7.1", "Only members may write to this address"));
        }
      });
    }

    const claim = (table: Table, recipient: Asked) => {
      const to = table.targets(recipient);
      if (!to) return;
      const rule = `the alias ${table.find(recipient)?.key ?? "postmaster"}`;
      return because(rule, accept(onward ? { to, onward } : { to }));
    };
    on("resolve", (recipient) => {
      const now = table.current();
      return now instanceof Promise ? now.then((table) => claim(table, recipient)) : claim(now, recipient);
    });

    on("vrfy", async (session, text) => {
      if (!isOurs(session)) return;
      const found = lookUp(await table.current(), text, domains);
      if (found) return accept({ reply: `<${found.address}>` });
    });

    on("expn", async (session, text) => {
      if (!isOurs(session)) return;
      const found = lookUp(await table.current(), text, domains);
      if (!found) return reject("5.1.1", "No such alias");
      return accept({ reply: found.targets.map((target) => `<${target}>`) });
    });
  },
});

/** Whether an address, with any tag, is one of those only members may write to. */
function memberOnly(internal: readonly string[], domains: readonly string[]): (asked: Asked) => boolean {
  const listed = new Set<string>();
  for (const text of internal) {
    const { local, domain } = split(text);
    for (const one of domain === undefined ? domains : [domain]) listed.add(`${fold(local)}@${one}`);
  }
  return ({ local, user, domain }) =>
    listed.has(`${user}@${domain}`) || listed.has(`${fold(local)}@${domain}`);
}

/** The alias that somebody asked for by VRFY or EXPN: an address, with or without brackets, or a local part of ours. */
function lookUp(table: Table, text: string, domains: readonly string[]) {
  const bare = text.trim().replace(/^<(.*)>$/s, "$1");
  const { local, domain } = split(bare);
  const user = fold(local.split("+", 1)[0]!);
  for (const one of domain === undefined ? domains : [domain]) {
    const targets = table.targets({ local, user, domain: one });
    // As it was written, for what is quoted must stay so.
    if (targets) {
      return {
        address: `${domain === undefined ? bare : bare.slice(0, bare.lastIndexOf("@"))}@${one}`,
        targets,
      };
    }
  }
}
