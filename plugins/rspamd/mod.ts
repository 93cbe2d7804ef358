/** Asks rspamd what it makes of a message, and does what that says: refuses, defers, greylists, marks, edits the header. */
import {
  accept,
  because,
  defer,
  definePlugin,
  duration,
  type Editable,
  type Objection,
  reject,
  type Session,
  size,
  type Transaction,
  transport,
  z,
} from "../../server/plugin.ts";
import { spam } from "../../server/facts.ts";
import { apart, isReachable, isStranger } from "../authentication/strangers.ts";
import { confirmedName } from "../confirmed_name.ts";
import { fold, isDomain, split } from "../addresses.ts";
import { openRspamd } from "./asking.ts";
import { type Action, indexOf, type Judged, requestHeaders } from "./protocol.ts";

const settingsId = z.string().regex(/^[!-~]{1,100}$/, "not the id of settings such as no_greylisting");

const options = z.object({
  url: z.url({ protocol: /^https?$/ }).default("http://127.0.0.1:11333").describe(
    "Where rspamd's normal worker listens, or its proxy",
  ),
  socket: z.string().startsWith("/").optional().describe(
    "The absolute path of a Unix socket to ask instead of the host in `url`",
  ),
  password: z.string().optional().describe("rspamd's password, where it wants one"),
  settings: settingsId.optional().describe(
    "The id of the settings that rspamd applies; absent: its own rules say",
  ),
  settingsFor: z.record(
    z.string().refine((text) => settingsKey(text) !== undefined, "not an address or a domain"),
    settingsId,
  ).optional().describe(
    "Ids of settings by recipient, `alice@example.org`, or by his domain, `example.org`; where recipients differ, `settings`",
  ),
  enforce: z.boolean().default(true).describe(
    "Refuse, defer and greylist as rspamd says; false: such mail is only marked",
  ),
  outgoing: z.boolean().default(false).describe(
    "Look also at mail of users who logged in and of trusted networks",
  ),
  greylist: duration("5m").describe(
    "How long a message is put off whose action is `greylist`; 0s: it isn't",
  ),
  quarantine: transport().optional().describe(
    "Transport that gets what rspamd wants quarantined; absent: it is marked and delivered",
  ),
  subject: z.string().includes("%s").default("[SPAM] %s").describe(
    "What a subject becomes that is to be rewritten, where rspamd doesn't say; `%s`: as it was",
  ),
  report: z.enum(["always", "spam", "never"]).default("always").describe(
    "When score and symbols stand in `X-Spam-Status`",
  ),
  log: z.enum(["always", "spam", "never"]).default("never").describe(
    "When action, score and symbols are a line of the log",
  ),
  max: size("20MiB").describe("The largest message that is looked at; larger mail goes on"),
});
type Options = z.output<typeof options>;

/** The plugin `rspamd`. */
export default definePlugin({
  name: "rspamd",
  options,
  setup(on, options, host) {
    const { enforce, outgoing, quarantine, max, log } = options;
    const tell = host.provides(spam);
    const rspamd = openRspamd(options);
    const settingsOf = settingsBy(options);
    const found = host.notes((_transaction: Transaction): { action: Action } => ({ action: "none" }));
    const isAsked = (session: Session) =>
      session.protocol !== "internal" && (outgoing || isStranger(session));

    if (!host.queued && (enforce || quarantine)) on("rcpt", apart);

    on("data", async (session, message, transaction, { signal }) => {
      if (!isAsked(session)) return;
      if (isStranger(session)) removeForged(message);
      if (message.size > max) return;
      const { remote, helo, user, tls } = session;
      const brought = {
        address: remote.address,
        name: await confirmedName(host.dns, remote.address, signal),
        helo,
        sender: transaction.sender.address,
        recipients: transaction.recipients.map(({ address }) => address),
        user: user?.name,
        tls,
        id: transaction.id,
      };
      const asked = { password: options.password, settings: settingsOf(transaction) };
      const judged = await rspamd.ask(message, requestHeaders(brought, asked), signal);
      tell(transaction, { score: judged.score, reasons: judged.symbols.map(({ name }) => name) });
      found(transaction).action = judged.action;
      if (log === "always" || (log === "spam" && isSpam(judged))) {
        const { named, score, symbols } = judged;
        host.log.info("judged", { id: transaction.id, action: named, score, symbols: symbols.map(shown) });
      }
      if (judged.action === "custom") {
        host.log.warning("an action that isn't known here: it is let pass", {
          id: transaction.id,
          action: judged.named,
        });
      }
      edit(message, judged, options);
      if (!enforce || (isStranger(session) && transaction.recipients.every(isReachable))) return;
      return refusal(judged) ?? await putOff(judged, session, transaction);
    });

    /** The first time a client brings this sender's mail to a recipient it is put off; RFC 6647 §4. */
    async function putOff({ action }: Judged, { remote }: Session, { sender, recipients }: Transaction) {
      if (action !== "greylist" || options.greylist === 0) return;
      const now = host.clock.now();
      const seen = await Promise.all(
        recipients.map(({ address }) =>
          host.store.getOrSet(`greylist ${remote.network} ${sender.address} ${address}`, now, { ttl: "36h" })
        ),
      );
      if (seen.every((first) => now - first >= options.greylist)) return;
      return because("rspamd: greylist", defer("4.7.1", "Greylisted, please try again later"));
    }

    if (quarantine) {
      on("dataFor", (session, recipient, _message, transaction) => {
        if (found(transaction).action !== "quarantine") return;
        if (isStranger(session) && isReachable(recipient)) return;
        return because("rspamd: quarantine", accept({ via: quarantine }));
      });
    }

    return () => rspamd.close();
  },
});

/** What rspamd's word means for the reply. To drop mail without a word is not done here: `discard` is a refusal. */
function refusal({ action, named, reply }: Judged): Objection | undefined {
  if (action === "reject" || action === "discard") {
    return because(`rspamd: ${named}`, reject("5.7.1", reply ?? "This message looks like spam"));
  }
  if (action === "soft reject") {
    return because(`rspamd: ${named}`, defer("4.7.1", reply ?? "Please try again later"));
  }
}

const spamActions: ReadonlySet<Action> = new Set(
  ["add header", "rewrite subject", "quarantine", "soft reject", "reject", "discard"] as const,
);
const isSpam = ({ action }: Judged) => spamActions.has(action);

/** Whoever wrote them, it wasn't our rspamd; and mail programs file by them. */
function removeForged(message: Editable): void {
  const names = [...message.headers].map(([name]) => name)
    .filter((name) => /^x-(?:spam|rspamd|spamd)(?:-|$)/i.test(name));
  for (const name of new Set(names)) message.removeHeader(name);
}

const shown = ({ name, score }: Judged["symbols"][number]) => `${name}(${score.toFixed(2)})`;

/** rspamd's own edits, then the marks that mail programs know. */
function edit(message: Editable, judged: Judged, { subject, report }: Options): void {
  for (const one of judged.edits) {
    if (one.kind === "add") {
      message.insertHeader(one.at === undefined ? 0 : one.at < 0 ? Infinity : one.at, one.name, one.value);
    } else if (one.nth === 0) {
      message.removeHeader(one.name);
    } else {
      const index = indexOf(one.nth, message.headers.all(one.name).length);
      if (index !== undefined) message.removeHeader(one.name, index);
    }
  }
  if (judged.action === "rewrite subject") {
    const was = message.headers.get("Subject") ?? "";
    message.replaceHeader("Subject", judged.subject ?? subject.replace("%s", () => was));
  }
  if (report === "always" || (report === "spam" && isSpam(judged))) {
    const tests = judged.symbols.slice(0, 100).map(shown).join(", ") || "none";
    const { score, required } = judged;
    const status = `score=${score.toFixed(2)} required=${required.toFixed(2)} tests=${tests}`;
    message.prependHeader("X-Spam-Status", `${isSpam(judged) ? "Yes" : "No"}, ${status}`);
  }
  if (isSpam(judged)) message.prependHeader("X-Spam", "Yes");
}

/** A recipient or a domain as keys are compared; `undefined` where the text is neither. */
function settingsKey(text: string): string | undefined {
  const { local, domain } = split(text.includes("@") ? text : `@${text}`);
  return domain !== undefined && isDomain(domain) && (local !== "" || !text.includes("@"))
    ? `${fold(local)}@${domain}`
    : undefined;
}

/** Which settings apply to a message: those of all its recipients, where they have the same. */
function settingsBy({ settings, settingsFor = {} }: Options): (of: Transaction) => string | undefined {
  const ids = new Map(Object.entries(settingsFor).map(([key, id]) => [settingsKey(key), id]));
  return ({ recipients }) => {
    const theirs = new Set(
      recipients.map(({ user, domain }) => ids.get(`${user}@${domain}`) ?? ids.get(`@${domain}`)),
    );
    const [only] = theirs;
    return (theirs.size === 1 ? only : undefined) ?? settings;
  };
}
