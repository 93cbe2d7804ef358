/** tarpit: lets suspects wait for each answer, for as long as other plugins say. After Haraka's tarpit. */
import { definePlugin, duration, fact, type Session, z } from "postrider";

/** Milliseconds: a plugin above this one says by `host.provides(suspicion)` who is to wait. */
export const suspicion = fact<number, Session>("suspicion");

export default definePlugin({
  name: "tarpit",
  options: z.object({ most: duration("20s").describe("However suspicious somebody is") }),
  setup(on, { most }, { clock, log, needs }) {
    const suspicionOf = needs(suspicion, { optional: true });
    const wait = async (session: Session, signal: AbortSignal) => {
      const delay = Math.min(suspicionOf(session) ?? 0, most);
      if (delay === 0) return;
      log.info("tarpitting", { session: session.id, delay });
      await clock.sleep(delay, signal);
    };
    on("helo", (session, _name, { signal }) => wait(session, signal));
    on("mail", (session, _transaction, { signal }) => wait(session, signal));
    on("rcpt", (session, _recipient, _transaction, { signal }) => wait(session, signal));
    on("data", (session, _message, _transaction, { signal }) => wait(session, signal));
  },
});
