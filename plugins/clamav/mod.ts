/** Asks ClamAV (clamd) whether a message carries malware, before it is taken. */
import { because, defer, definePlugin, type Editable, reject, size, z } from "../../server/plugin.ts";
import { ask, backEnd } from "../back_end.ts";
import { instream, readFinding, type Scanned } from "./instream.ts";

const options = z.object({
  address: backEnd.default("/run/clamav/clamd.ctl").meta({ examples: ["/run/clamav/clamd.ctl"] }).describe(
    "Where clamd listens: the path of its Unix socket, or a host and a port such as `127.0.0.1:3310`",
  ),
  infected: z.enum(["reject", "mark"]).default("reject").describe(
    "What becomes of a message with malware: it is refused, or only marked in `X-Virus-Status`",
  ),
  max: size("100MiB").describe(
    "The largest message that is scanned; not more than clamd's `StreamMaxLength`, 100 MiB by itself",
  ),
  tooLarge: z.enum(["pass", "defer", "reject"]).default("pass").describe(
    "What becomes of a message that is larger than `max` or than clamd takes: it goes on unscanned, or is refused, for now or for good",
  ),
});

const field = "X-Virus-Status";

/** The plugin `clamav`. */
export default definePlugin({
  name: "clamav",
  options,
  setup(on, { address, infected, max, tooLarge }, { log }) {
    const scan = async (message: Editable, signal: AbortSignal): Promise<Scanned> => {
      if (message.size > max) return { kind: "too large" };
      const asking = { name: "clamd", address, signal, most: 4096 };
      return readFinding(await ask(asking, instream(message.stream())));
    };

    on("data", async ({ protocol }, message, { id }, { signal }) => {
      if (protocol === "internal") return; // it was scanned when it came
      message.removeHeader(field); // whoever wrote it, it wasn't us
      const scanned = await scan(message, signal);
      switch (scanned.kind) {
        case "clean":
          return message.prependHeader(field, "Clean");
        case "infected": {
          const { signature } = scanned;
          if (infected === "reject") {
            return because(`found ${signature}`, reject("5.7.1", `Malware was found in it: ${signature}`));
          }
          log.warning("malware is let pass", { id, signature });
          return message.prependHeader(field, `Infected (${signature})`);
        }
        case "too large":
          if (tooLarge === "reject") return because("tooLarge: reject", refused);
          if (tooLarge === "defer") return because("tooLarge: defer", deferred);
          log.warning("too large to be scanned", { id, size: message.size });
          return message.prependHeader(field, "Not scanned (too large)");
      }
    });
  },
});

const refused = reject("5.3.4", "The message is too large to be scanned for malware", 552);
const deferred = defer("4.3.4", "The message is too large to be scanned for malware");
