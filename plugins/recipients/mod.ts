/** Knows who exists, by a file, a database, a web service, LDAP or the next hop: unknown users are refused at RCPT, never bounced later. */
import {
  accept,
  type Address,
  because,
  definePlugin,
  type Host,
  path,
  reject,
  transport,
  z,
} from "../../server/plugin.ts";
import { domain, fold } from "../addresses.ts";
import { Directory, keeping, type Name, type Source } from "../directory/directory.ts";
import { httpOption, openHttp } from "../directory/http.ts";
import { openSql, sqlOption } from "../directory/sql.ts";
import { readUsers } from "../users.ts";
import { followYaml } from "../yaml_file.ts";
import { ldapOption, openLdap } from "./ldap.ts";
import { nextHopOption, openNextHop } from "./next_hop.ts";

const sources = ["file", "sql", "http", "ldap", "nextHop"] as const;

const options = z.object({
  domains: z.array(domain).min(1).describe(
    "Domains whose users are asked for; all their addresses are ours to know",
  ),
  file: path().optional().describe(
    "YAML file of users: addresses (or local parts, in every domain) as keys, as a list, or one a line; read again when it changes",
  ),
  sql: sqlOption.optional().describe("An SQLite database: a row, and the user exists"),
  http: httpOption.extend({
    answer: z.enum(["status", "json"]).default("status").describe(
      '`status`: 2xx is a yes, 404 and 410 a no; `json`: a 2xx brings `{"exists": true}` or `false`',
    ),
  }).optional().describe("A web service"),
  ldap: ldapOption.optional().describe("An LDAP directory: an entry, and the user exists"),
  nextHop: nextHopOption.optional().describe(
    "The server the mail goes to: it is asked by RCPT, and sent nothing",
  ),
  tags: z.enum(["strip", "keep"]).default("strip").describe(
    "Whether `user+tag` exists where `user` does, or is asked for as it is",
  ),
  via: transport().optional().describe(
    "Transport for those who exist, such as `smtp`; default: a plugin below says where their mail goes",
  ),
  cache: keeping.describe("How long answers are kept, those of `file` aside"),
}).superRefine((given, context) => {
  const ways = sources.filter((way) => given[way] !== undefined);
  if (ways.length === 1) return;
  const message = ways.length === 0
    ? `who exists is known by one of ${sources.join(", ")}: give one`
    : `has ${ways.join(" and ")}: give one, and the other to a second \`recipients\``;
  context.addIssue({ code: "custom", message });
});

type Options = z.output<typeof options>;

/** Whether somebody exists. */
type Exists = (address: Address) => boolean | Promise<boolean>;

/** The plugin `recipients`. */
export default definePlugin({
  name: "recipients",
  options,
  async setup(on, given, host) {
    host.owns(given.domains);
    const ours = new Set(given.domains);
    const { exists, about, asksNextHop, close } = await open(given, host);
    const yes = given.via && because(about, accept({ via: given.via }));
    const no = because(about, reject("5.1.1", "No such user here"));

    on("resolve", (recipient, { dryRun }) => {
      const { user, domain } = recipient;
      if (!ours.has(domain)) return;
      // RFC 5321 §4.5.1, RFC 2142: they always exist.
      if (user === "postmaster" || user === "abuse") return yes;
      if (dryRun && asksNextHop) return yes; // no next hop is asked
      const known = exists(recipient);
      if (known instanceof Promise) return known.then((known) => known ? yes : no);
      return known ? yes : no;
    });
    return close;
  },
});

interface Opened {
  readonly exists: Exists;
  readonly about: string;
  readonly asksNextHop: boolean;
  readonly close: () => void;
}

async function open(given: Options, host: Host): Promise<Opened> {
  const isTagKept = given.tags === "keep";
  const asked = ({ user, local, domain }: Address): Name => ({
    local: isTagKept ? fold(local) : user,
    domain,
  });
  if (given.file !== undefined) {
    const file = await followYaml(given.file, readUsers, host);
    const exists: Exists = (address) => {
      const { local, domain } = asked(address);
      const users = file.current();
      return users instanceof Promise
        ? users.then((users) => users.has(local, domain))
        : users.has(local, domain);
    };
    return { exists, about: `file: ${given.file}`, asksNextHop: false, close() {} };
  }
  const source = await sourceOf(given, host);
  const directory = new Directory(source, given.cache, host);
  return {
    exists: async (address) => await directory.find(asked(address)) !== undefined,
    about: source.about,
    asksNextHop: given.nextHop !== undefined,
    close: () => directory.close(),
  };
}

async function sourceOf({ sql, http, ldap, nextHop }: Options, host: Host): Promise<Source> {
  if (sql) return await openSql(sql, host);
  if (http) return openHttp(http, http.answer === "json" ? readExists : () => []);
  if (ldap) return openLdap(ldap);
  return openNextHop(nextHop!, host);
}

const answer = z.object({ exists: z.boolean() });

/** `{"exists": true}`, whatever else stands there. */
function readExists(body: string): readonly string[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    throw new Error("is not JSON");
  }
  const read = answer.safeParse(json);
  if (!read.success) throw new Error('has no "exists" that is true or false');
  return read.data.exists ? [] : undefined;
}
