import { defer, definePlugin, disconnect, type Session, z } from "postrider";

export default definePlugin({
  name: "ratelimit",
  options: z.object({
    recipientsPerSession: z.int().positive().default(100),
    perHour: z.int().positive().default(1000),
  }),
  setup(on, options, { cache, log, notes }) {
    const seen = notes((session: Session) => ({ recipients: 0, refused: 0, since: session.id }));
    on("connect", async (session) => {
      const n = await cache.increment(session.remote.network, 1, { ttl: "1h" });
      if (n > options.perHour) return disconnect("4.7.0", "Too many connections, come back later");
    });
    on("rcpt", (session) => {
      const mine = seen(session);
      if (++mine.recipients <= options.recipientsPerSession) return;
      mine.refused++;
      return defer("4.7.1", "Too many recipients", 452);
    });
    on("disconnect", ({ session, reason, messages }) => {
      const { refused } = seen(session);
      if (refused) log.warning("rate limited", { session: session.id, refused, reason, messages });
    });
  },
});
