/** Slows down who tries out recipients: each one that doesn't exist makes the answers to the next ones later. */
import { definePlugin, duration, type Session, z } from "../server/plugin.ts";
import { isReachable, isStranger } from "./authentication/strangers.ts";

/** A network's unknown recipients are forgotten so long after the first. */
const memory = "10m";

/** The plugin `tarpit`. */
export default definePlugin({
  name: "tarpit",
  roles: ["mx"],
  options: z.object({
    free: z.int().min(0).max(1000).default(3).describe(
      "So many unknown recipients of a /24 or /64 in ten minutes cost nothing",
    ),
    delay: duration("1s").describe("What each further one adds to the time of the answers to RCPT"),
    longest: duration("15s").refine((ms) => ms <= 20_000, "is more than 20s, and a plugin's own time is 30s")
      .describe("The longest that an answer takes"),
    clients: z.int().min(1).max(100_000).default(100)
      .describe(
        "So many clients wait at the same time; further ones are not slowed, so that no room is held for them",
      ),
  }),
  setup(on, { free, delay, longest, clients }, host) {
    const told = host.notes((_session: Session) => ({ logged: false }));
    let waiting = 0;

    on("rejected", async ({ session, recipient, verdict }) => {
      if (!recipient || verdict.verdict !== "reject" || !verdict.status.startsWith("5.1.")) return;
      if (isStranger(session)) await host.cache.increment(session.remote.network, 1, { ttl: memory });
    });

    on("rcpt", async (session, recipient, _transaction, { signal, dryRun }) => {
      if (!isStranger(session) || isReachable(recipient)) return;
      const unknown = await host.cache.get<number>(session.remote.network) ?? 0;
      const wait = Math.min(longest, (unknown - free) * delay);
      if (wait <= 0 || dryRun || waiting >= clients) return;
      if (!told(session).logged) {
        told(session).logged = true;
        const text = host.observed ? "client would be slowed down" : "client is slowed down";
        host.log.info(text, { session: session.id, network: session.remote.network, unknown });
      }
      if (host.observed) return;
      waiting++;
      try {
        await host.clock.sleep(wait, signal);
      } finally {
        waiting--;
      }
    });
  },
});
