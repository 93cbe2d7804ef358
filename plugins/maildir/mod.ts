/** Delivers to Maildirs, durably, and says who has one. */
import { domainToASCII } from "node:url";
import { accept, type Address, because, definePlugin, path, reject, z } from "../../server/plugin.ts";
import { domain } from "../addresses.ts";
import { followUsers, usersOption } from "../users.ts";
import { machineDisk } from "./disk.ts";
import { readLayout } from "./layout.ts";
import { Mailboxes } from "./mailbox.ts";
import { isUnusable, machineRandom, uniqueNames } from "./names.ts";
import { deliverAll } from "./transport.ts";

const layout = path("/var/mail/{domain}/{user}").superRefine((template, context) => {
  const read = readLayout(template);
  if (typeof read === "string") context.addIssue({ code: "custom", message: read });
});

const atom = "[A-Za-z0-9!#$%&'*/=?^_`{|}~-]+(?:\\.[A-Za-z0-9!#$%&'*/=?^_`{|}~-]+)*";

const options = z.object({
  domains: z.array(domain).min(1).describe(
    "Domains whose mail is delivered here; all their addresses are ours to know",
  ),
  users: usersOption.optional().describe(
    "Who has a mailbox: a list of addresses (or local parts, in every domain), a YAML file of them such as auth's, or `any`; default: whose mailbox exists",
  ),
  path: layout.describe("The mailbox's folder; {user} is without its +tag, lower case"),
  lineEndings: z.enum(["lf", "crlf"]).default("lf").describe("How lines end in the files; readers expect lf"),
  catchAll: z.string().regex(new RegExp(`^${atom}$`), "not a local part such as everyone").optional()
    .describe("The mailbox that mail for unknown users goes to, a local part, in each domain"),
  postmaster: z.string().regex(
    new RegExp(`^${atom}(?:\\+${atom})?@\\S+$`),
    "not an address such as admin@example.org",
  ).optional()
    .describe(
      "Who gets mail for postmaster and abuse where they have no mailbox, and for the bare <postmaster>",
    ),
}).superRefine(({ domains, users }, context) => {
  if (!Array.isArray(users)) return;
  for (const [index, text] of users.entries()) {
    const problem = (message: string) =>
      context.addIssue({ code: "custom", message, path: ["users", index] });
    const at = text.lastIndexOf("@");
    if (at >= 0 && !domains.includes(domainToASCII(text.slice(at + 1)))) {
      problem(`"${text}" is in none of \`domains\``);
    }
    const local = at < 0 ? text : text.slice(0, at);
    if (isUnusable(local)) problem(`"${text}" can't be the name of a mailbox`);
    if (local.includes("+")) problem(`"${text}" is a sub-address: its mail goes to the user before the +`);
  }
});

/** The plugin `maildir`. */
export default definePlugin({
  name: "maildir",
  options,
  async setup(on, { domains, users, path, lineEndings, catchAll, postmaster }, host) {
    host.owns(domains);
    const layout = readLayout(path);
    if (typeof layout === "string") throw new Error(`path: ${layout}`);
    const writer = {
      disk: machineDisk,
      mailboxes: new Mailboxes(layout.root, machineDisk),
      uniqueName: uniqueNames({
        now: () => host.clock.now(),
        pid: Deno.pid,
        hostname: Deno.hostname(),
        random: machineRandom(),
      }),
    };
    const transport = host.transport("maildir", deliverAll(writer, layout, lineEndings, host.log), {
      inline: true,
      batch: 50,
    });
    const rule = typeof users === "string" && users !== "any"
      ? `users: ${users}`
      : users === "any"
      ? "users: any"
      : "users";
    const here = because(users === undefined ? "the mailbox exists" : rule, accept({ via: transport }));
    const made = because("postmaster, abuse and catchAll always exist", accept({ via: transport }));
    const exists: (address: Address) => boolean | Promise<boolean> = users === undefined
      ? (address) => hasMailbox(layout.of(address.user, address.domain))
      : await followUsers(users, host);
    const ours = new Set(domains);
    const everyone = catchAll?.toLowerCase().normalize("NFC");

    /** What becomes of mail for an address that has no mailbox of its own. */
    const otherwise = ({ user, domain }: Address) => {
      const required = user === "postmaster" || user === "abuse"; // RFC 5321 §4.5.1, RFC 2142
      if (required && postmaster !== undefined && postmaster.toLowerCase() !== `${user}@${domain}`) {
        return because(`postmaster: ${postmaster}`, accept({ to: [postmaster] }));
      }
      if (required || user === everyone) return made; // when the first mail arrives
      if (everyone !== undefined) {
        return because(`catchAll: ${catchAll}`, accept({ to: [`${everyone}@${domain}`] }));
      }
    };

    on("resolve", (recipient) => {
      const { user, domain } = recipient;
      // RFC 5321 §4.1.1.3: `<postmaster>` without a domain is always there.
      if (domain === "" && user === "postmaster") {
        return accept({ to: [postmaster ?? `postmaster@${domains[0]}`] });
      }
      if (!ours.has(domain)) return;
      if (isUnusable(user)) return reject("5.1.1", "No mailbox can have this name");
      const known = exists(recipient);
      if (known instanceof Promise) return known.then((known) => known ? here : otherwise(recipient));
      return known ? here : otherwise(recipient);
    });
  },
});

/** @throws what the operating system says, when it can't tell: the chain then defers. */
async function hasMailbox(folder: string): Promise<boolean> {
  try {
    return (await Deno.stat(folder)).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}
