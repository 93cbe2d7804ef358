/** Sends mail for one address to others: aliases, small lists, catch-alls. Answers VRFY and EXPN for our own people. */
import {
  accept,
  because,
  cidr,
  definePlugin,
  type Host,
  path,
  reject,
  type Session,
  transport,
  z,
} from "../../server/plugin.ts";
import { domain, fold, split } from "../addresses.ts";
import { keeping } from "../directory/directory.ts";
import { httpOption, openHttp } from "../directory/http.ts";
import { openSql, sqlOption } from "../directory/sql.ts";
import { followYaml } from "../yaml_file.ts";
import { Elsewhere, readTargets } from "./elsewhere.ts";
import { type Asked, type Found, readTable, Table } from "./table.ts";

const places = ["file", "aliases", "sql", "http"] as const;

const options = z.object({
  file: path().optional()
    .describe(
      "YAML file of aliases, `alias: address` or `alias: [address, address]`; read again when it changes",
    ),
  aliases: z.record(z.string(), z.union([z.string(), z.array(z.string())])).optional()
    .describe("The aliases themselves, instead of a file"),
  sql: sqlOption.optional().describe(
    "An SQLite database: the first column of each row is an address, or several between commas",
  ),
  http: httpOption.optional().describe(
    'A web service that answers in JSON: `["alice@example.org"]`, or `{"to": […]}`; 404 is no alias',
  ),
  cache: keeping.describe("How long answers of `sql` and `http` are kept"),
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
}).superRefine(({ file, aliases, sql, http, domains, internal }, context) => {
  const problem = (message: string, ...path: (string | number)[]) =>
    context.addIssue({ code: "custom", message, path });
  const given = places.filter((place) => ({ file, aliases, sql, http })[place] !== undefined);
  if (given.length === 0) {
    problem("aliases stand in a `file`, here under `aliases`, or in `sql` or `http`: give one of them");
  }
  if (given.length > 1) problem(`aliases stand in one place, not in ${given.join(" and ")}`, given[1]!);
  if ((sql || http) && domains.length === 0) {
    problem("needs the `domains` whose addresses are looked up", sql ? "sql" : "http");
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
  async setup(on, given, host) {
    const { domains, internal, networks, onward } = given;
    if (domains.length > 0) host.owns(domains);
    const { find, close } = await open(given, host);
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

    const claim = (found: Found | undefined) => {
      if (!found) return;
      const { key, targets: to } = found;
      return because(`the alias ${key}`, accept(onward ? { to, onward } : { to }));
    };
    on("resolve", (recipient) => {
      const found = find(recipient);
      return found instanceof Promise ? found.then(claim) : claim(found);
    });

    on("vrfy", async (session, text) => {
      if (!isOurs(session)) return;
      const found = await lookUp(find, text, domains);
      if (found) return accept({ reply: `<${found.address}>` });
    });

    on("expn", async (session, text) => {
      if (!isOurs(session)) return;
      const found = await lookUp(find, text, domains);
      if (!found) return reject("5.1.1", "No such alias");
      return accept({ reply: found.targets.map((target) => `<${target}>`) });
    });
    return close;
  },
});

/** Which alias an address falls under. */
type Find = (asked: Asked) => Found | undefined | Promise<Found | undefined>;

/** Where the aliases stand. @throws {Error} when what is there can't be read. */
async function open(
  { file, aliases, sql, http, cache, domains }: z.output<typeof options>,
  host: Host,
): Promise<{ readonly find: Find; readonly close?: () => void }> {
  if (file !== undefined) {
    const followed = await followYaml(file, (root, problem) => readTable(root, problem, domains), host);
    return {
      find(asked) {
        const now = followed.current();
        return now instanceof Promise ? now.then((table) => table.found(asked)) : now.found(asked);
      },
    };
  }
  if (sql || http) {
    const source = sql ? await openSql(sql, host) : openHttp(http!, readTargets);
    const elsewhere = new Elsewhere(source, cache, domains, host);
    return { find: (asked) => elsewhere.find(asked), close: () => elsewhere.close() };
  }
  const table = new Table(domains);
  for (const [key, targets] of Object.entries(aliases ?? {})) table.add(key, [targets].flat());
  return { find: (asked) => table.found(asked) };
}

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
async function lookUp(find: Find, text: string, domains: readonly string[]) {
  const bare = text.trim().replace(/^<(.*)>$/s, "$1");
  const { local, domain } = split(bare);
  const user = fold(local.split("+", 1)[0]!);
  for (const one of domain === undefined ? domains : [domain]) {
    const found = await find({ local, user, domain: one });
    // As it was written, for what is quoted must stay so.
    if (found) {
      return {
        address: `${domain === undefined ? bare : bare.slice(0, bare.lastIndexOf("@"))}@${one}`,
        targets: found.targets,
      };
    }
  }
}
