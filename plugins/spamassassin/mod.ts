/** Asks SpamAssassin (spamd) how much a message looks like spam: marks it, and refuses it from a score on. */
import {
  because,
  defer,
  definePlugin,
  type Editable,
  reject,
  type Session,
  size,
  type Transaction,
  z,
} from "../../server/plugin.ts";
import { spam } from "../../server/facts.ts";
import { apart, isReachable, isStranger } from "../authentication/strangers.ts";
import { ask, backEnd } from "../back_end.ts";
import { confirmedName } from "../confirmed_name.ts";
import { type Judged, readJudgement, symbols, userName } from "./spamd.ts";

const options = z.object({
  address: backEnd.default("127.0.0.1:783").meta({ examples: ["127.0.0.1:783"] }).describe(
    "Where spamd listens: a host and a port, or the absolute path of its Unix socket",
  ),
  reject: z.number().optional().describe("The score from which a message is refused; absent: none is"),
  defer: z.number().optional().describe(
    "The score from which its sender is to try again later, less than `reject`; absent: none is",
  ),
  user: z.string().refine((text) => userName(text) !== undefined, "not a user's name").optional().describe(
    "Whose preferences spamd uses; absent: its own",
  ),
  perUser: z.enum(["address", "user"]).optional().describe(
    "A message to one recipient is judged by his preferences, under his address, or the part before the @; other messages by `user`'s",
  ),
  max: size("512KiB").describe(
    "The largest message that is looked at; spam is small, and larger mail goes on",
  ),
}).superRefine(({ reject, defer }, context) => {
  if (reject === undefined || defer === undefined || defer < reject) return;
  context.addIssue({ code: "custom", path: ["defer"], message: `is not less than "reject", ${reject}` });
});

/** The plugin `spamassassin`. */
export default definePlugin({
  name: "spamassassin",
  roles: ["mx"],
  options,
  setup(on, { address, reject: rejectFrom, defer: deferFrom, user, perUser, max }, host) {
    const tell = host.provides(spam);
    const by = host.hostname;

    const userOf = ({ recipients }: Transaction) => {
      const [only, other] = recipients;
      if (!perUser || !only || other) return user;
      return userName(perUser === "user" ? only.user : `${only.user}@${only.domain}`) ?? user;
    };

    const judge = async (
      { remote, helo }: Session,
      message: Editable,
      transaction: Transaction,
      signal: AbortSignal,
    ): Promise<Judged> => {
      const name = await confirmedName(host.dns, remote.address, signal);
      const brought = {
        sender: transaction.sender.address,
        helo,
        address: remote.address,
        name,
        by,
        id: transaction.id,
        now: host.clock.now(),
      };
      const asking = { name: "spamd", address, signal, most: 64 * 1024 };
      return readJudgement(await ask(asking, symbols(message, userOf(transaction), brought)));
    };

    if (!host.queued && (rejectFrom !== undefined || deferFrom !== undefined)) on("rcpt", apart);

    on("data", async (session, message, transaction, { signal }) => {
      if (!isStranger(session)) return;
      removeForged(message);
      if (message.size > max) return;
      const judged = await judge(session, message, transaction, signal);
      tell(transaction, { score: judged.score, reasons: judged.tests });
      mark(message, judged);
      if (transaction.recipients.every(isReachable)) return;
      if (rejectFrom !== undefined && judged.score >= rejectFrom) {
        return because(`reject: ${rejectFrom}`, reject("5.7.1", "This message looks like spam"));
      }
      if (deferFrom !== undefined && judged.score >= deferFrom) {
        return because(
          `defer: ${deferFrom}`,
          defer("4.7.1", "This message looks like spam, try again later"),
        );
      }
    });
  },
});

/** Whoever wrote them, it wasn't our SpamAssassin; and mail programs file by them. */
function removeForged(message: Editable): void {
  const names = [...message.headers].map(([name]) => name).filter((name) => /^x-spam-/i.test(name));
  for (const name of new Set(names)) message.removeHeader(name);
}

/** As SpamAssassin itself writes them, so that filters know them. */
function mark(message: Editable, { isSpam, score, required, tests }: Judged): void {
  const stars = "*".repeat(Math.max(0, Math.min(50, Math.floor(score))));
  if (stars !== "") message.prependHeader("X-Spam-Level", stars);
  message.prependHeader(
    "X-Spam-Status",
    `${isSpam ? "Yes" : "No"}, score=${score} required=${required} tests=${tests.join(", ") || "none"}`,
  );
  if (isSpam) message.prependHeader("X-Spam-Flag", "YES");
}
