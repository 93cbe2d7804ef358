/** quarantine: mail that another plugin suspects lies in a folder, by day, instead of in a mailbox. After Haraka's queue/quarantine. */
import { join } from "node:path";
import { accept, definePlugin, delivered, fact, path, z } from "postrider";

/** A plugin above this one says by `host.provides(suspect)` that a transaction's message is to be set aside. */
export const suspect = fact<boolean>("suspect");

export default definePlugin({
  name: "quarantine",
  options: z.object({ path: path("quarantine").describe("The folder") }),
  setup(on, options, { clock, needs, transport }) {
    const isSuspect = needs(suspect);
    const via = transport("quarantine", async (message, recipients, { signal }) => {
      const folder = join(options.path, new Date(clock.now()).toISOString().slice(0, 10));
      await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
      const unfinished = join(folder, `.${message.id}`);
      await Deno.writeFile(unfinished, message.stream(), { mode: 0o600 });
      using file = await Deno.open(unfinished);
      await file.sync();
      signal.throwIfAborted();
      await Deno.rename(unfinished, join(folder, `${message.id}.eml`)); // whole, or not there at all
      return delivered(`quarantined for ${recipients.join(" ")}`);
    }, { batch: 1000 });
    on(
      "dataFor",
      (_session, _recipient, _message, transaction) => isSuspect(transaction) ? accept({ via }) : undefined,
    );
  },
});
