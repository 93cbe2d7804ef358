import { accept, definePlugin, reject, transport, z } from "postrider";
import { country, spam, spf } from "postrider/facts";

export default definePlugin({
  name: "tagger",
  options: z.object({
    rejectAt: z.record(z.string(), z.number()).default({}),
    quarantine: transport("quarantine"),
  }),
  setup(on, { rejectAt, quarantine }, host) {
    const score = host.notes(() => ({ points: 0, reasons: [] as string[] }));
    const spfOf = host.needs(spf);
    const countryOf = host.needs(country, { optional: true });
    const publish = host.provides(spam);

    on("data", (session, message, transaction) => {
      const notes = score(transaction);
      if (spfOf(transaction)?.result === "fail") notes.points += 3, notes.reasons.push("SPF");
      if (countryOf(session) === "XX") notes.points += 1;
      if (!message.headers.get("message-id")) notes.points += 2;
      publish(transaction, { score: notes.points, reasons: notes.reasons });
      message.prependHeader("X-Spam-Score", String(notes.points));
    });
    // One user wants spam refused, another one tagged.
    on("dataFor", (session, recipient, _message, transaction) => {
      const { points } = score(transaction);
      const limit = rejectAt[recipient.address];
      if (points >= (limit ?? Infinity)) {
        return session.protocol === "lmtp" || transaction.recipients.length === 1
          ? reject("5.7.1", "Spam")
          : accept({ via: quarantine });
      }
      if (points >= 5) recipient.prependHeader("X-Spam-Flag", "YES");
    });
  },
});
