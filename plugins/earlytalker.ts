/** Clients that speak before they are greeted (RFC 5321 §3.1) are programs that don't listen, and send spam. */
import { because, definePlugin, disconnect, duration, z } from "../server/plugin.ts";
import { isStranger } from "./authentication/strangers.ts";

/** The plugin `earlytalker`. */
export default definePlugin({
  name: "earlytalker",
  roles: ["mx"],
  options: z.object({
    wait: duration("3s").refine((ms) => ms <= 20_000, "is more than 20s, and a plugin's own time is 30s")
      .describe("How long a stranger waits for the greeting"),
    remember: duration("7d").refine((ms) => ms >= 1_000 && ms <= 31_536_000_000, "is not between 1s and 365d")
      .describe("For how long an address that has waited once is greeted at once"),
  }),
  setup(on, { wait, remember }, { store }) {
    on("connect", async (session, call) => {
      if (!isStranger(session) || call.dryRun) return;
      const key = `patient ${session.remote.address}`;
      // A store in trouble costs a wait, and no mail.
      if (await store.get(key).catch(() => undefined)) return;
      if (await call.listen(wait) === "spoke") {
        const text = "You spoke before you were greeted";
        return because(`wait: ${wait / 1000}s`, disconnect("5.5.0", text));
      }
      call.signal.throwIfAborted(); // it has gone, and waited for nothing
      await store.set(key, true, { ttl: `${Math.ceil(remember / 1000)}s` }).catch(() => {});
    });
  },
});
