/** Rewrites addresses of envelope and header by tables, hides hosts behind their domain, and edits header fields. */
import { isMap, isScalar, type Node } from "yaml";
import {
  accept,
  because,
  definePlugin,
  type Editable,
  type OpenTransaction,
  path,
  z,
} from "../../server/plugin.ts";
import { domainToASCII } from "node:url";
import { isStranger } from "../authentication/strangers.ts";
import { isDomain, routed } from "../addresses.ts";
import { followYaml, type Problem } from "../yaml_file.ts";
import { changeAll, editOption, editor } from "./edits.ts";
import { masquerade } from "./masquerade.ts";
import { replaceMailboxes } from "./mailboxes.ts";
import { type Parts, partsOf, Table } from "./table.ts";

/** The tables, by the names of their options, and for whose addresses they are. */
const kinds = ["addresses", "senders", "recipients"] as const;
type Kind = typeof kinds[number];

const entries = z.record(z.string(), z.string()).optional();
const hiding = z.string().overwrite((text) =>
  text.startsWith("!") ? `!${domainToASCII(text.slice(1))}` : domainToASCII(text) || text
).refine((text) => isDomain(text.replace(/^!/, "")), "not a domain such as example.org or !db.example.org");

const options = z.object({
  addresses: entries.describe("What senders' and recipients' addresses become"),
  senders: entries.describe(
    "What senders' addresses become: the envelope's, and those in `From`, `Sender` and `Reply-To`",
  ),
  recipients: entries.describe(
    "What recipients' addresses become: the envelope's, and those in `To` and `Cc`",
  ),
  file: path().optional().describe(
    "YAML file that holds these three instead; read again when it changes",
  ),
  masquerade: z.array(hiding).default([]).describe(
    "Domains that stand for all names below them, in senders' addresses and in the header; `!db.example.org`, before its domain, stays",
  ),
  except: z.array(z.string()).default([]).describe(
    "Local parts that `masquerade` leaves alone, such as `root`",
  ),
  headers: z.array(editOption).default([]).describe(
    "Edits of the header, in this order: `{ add, value }`, `{ set, value }`, `{ remove, matching? }`, `{ replace, matching, value }`",
  ),
  of: z.enum(["ours", "everybody"]).default("ours").describe(
    "Whose mail is rewritten: that of users who logged in, of trusted networks and of the server itself, or everybody's; the envelope's recipients always are",
  ),
}).superRefine((given, context) => {
  const { file } = given;
  for (const kind of kinds) {
    const table = new Table();
    if (given[kind] && file !== undefined) {
      context.addIssue({ code: "custom", path: [kind], message: "stands in `file` or here, not in both" });
    }
    for (const [key, target] of Object.entries(given[kind] ?? {})) {
      const wrong = table.add(key, target);
      if (wrong) context.addIssue({ code: "custom", path: [kind, key], message: wrong });
    }
  }
});

type Tables = Readonly<Record<Kind, Table>>;

const senderFields = ["From", "Sender", "Reply-To", "Resent-From", "Resent-Sender", "Resent-Reply-To"];
const recipientFields = ["To", "Cc", "Resent-To", "Resent-Cc"];

/** The plugin `rewrite`. */
export default definePlugin({
  name: "rewrite",
  options,
  async setup(on, { file, masquerade: hidden, except, headers, of, ...given }, host) {
    const fixed: Tables = { addresses: new Table(), senders: new Table(), recipients: new Table() };
    for (const kind of kinds) {
      for (const [key, target] of Object.entries(given[kind] ?? {})) fixed[kind].add(key, target);
    }
    const tables = file === undefined ? { current: () => fixed } : await followYaml(file, readTables, host);
    const hide = masquerade(hidden, except);
    const edits = headers.map(editor);

    /** By its own table, by the one for all, then without its host. */
    const become = (parts: Parts, own: Table, all: Table, hides: boolean): string | undefined => {
      const made = own.rewrite(parts) ?? all.rewrite(parts);
      const now = made === undefined ? parts : partsOf(made) ?? parts;
      return (hides ? hide(now) : undefined) ?? made;
    };

    on("resolve", async ({ local, domain, address }) => {
      if (routed.test(local)) return; // another server may take that apart and send on for a stranger
      const { recipients, addresses } = await tables.current();
      const to = become({ local, domain }, recipients, addresses, false);
      if (to !== undefined) return because(`${address} becomes ${to}`, accept({ to: [to] }));
    });

    on("data", async (session, message, transaction) => {
      if (of === "ours" && isStranger(session)) return;
      const { senders, recipients, addresses } = await tables.current();
      rewriteSender(transaction, (parts) => become(parts, senders, addresses, true));
      rewriteFields(message, senderFields, (parts) => become(parts, senders, addresses, true));
      rewriteFields(message, recipientFields, (parts) => become(parts, recipients, addresses, true));
      for (const edit of edits) edit(message);
    });
  },
});

type Rewrite = (of: Parts) => string | undefined;

function rewriteSender(transaction: OpenTransaction, rewrite: Rewrite): void {
  const { address, local, domain } = transaction.sender;
  const made = address === "" ? undefined : rewrite({ local, domain });
  if (made !== undefined) transaction.setSender(made);
}

function rewriteFields(message: Editable, names: readonly string[], rewrite: Rewrite): void {
  const one = (text: string) => {
    const parts = partsOf(text);
    return parts && rewrite(parts);
  };
  for (const name of names) changeAll(message, name, (value) => replaceMailboxes(value, one));
}

/** A file of tables: `senders:`, `recipients:` and `addresses:`, each a mapping of address to address. */
export function readTables(root: Node | null, problem: Problem): Tables {
  const tables: Tables = { addresses: new Table(), senders: new Table(), recipients: new Table() };
  if (root === null || (isScalar(root) && root.value === null)) return tables;
  if (!isMap<Node, Node | null>(root)) throw problem(root, `must be a mapping with ${kinds.join(", ")}`);
  for (const { key, value } of root.items) {
    const kind = kinds.find((one) => isScalar(key) && key.value === one);
    if (!kind) throw problem(key, `is none of ${kinds.join(", ")}`);
    if (value === null || (isScalar(value) && value.value === null)) continue;
    if (!isMap<Node, Node | null>(value)) {
      throw problem(value, "must be a mapping, one `address: address` a line");
    }
    for (const entry of value.items) {
      const [from, to] = [entry.key, entry.value];
      if (!isScalar(from) || typeof from.value !== "string") {
        throw problem(from, "an address, as text (in quotes, where it begins with * or @)");
      }
      if (!isScalar(to) || typeof to.value !== "string") {
        throw problem(to ?? from, `"${from.value}" must become one address`);
      }
      const wrong = tables[kind].add(from.value.trim(), to.value.trim());
      if (wrong) throw problem(from, wrong);
    }
  }
  return tables;
}
