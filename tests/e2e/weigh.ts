/**
 * A plugin that answers `XWEIGH` with the octets that the server's objects take once all garbage is collected; for tests, in a
 * process that was started with `--v8-flags=--expose-gc`. What resident memory shows is mostly garbage of the last minutes.
 */
import { accept, definePlugin } from "../../server/plugin.ts";

export default definePlugin({
  name: "weigh",
  setup(on) {
    on("command", (_session, verb) => {
      if (verb !== "XWEIGH") return;
      const { gc } = globalThis as { gc?(): void };
      if (!gc) throw new Error("not started with --v8-flags=--expose-gc");
      gc();
      const { heapUsed, external } = Deno.memoryUsage();
      return accept({ reply: String(heapUsed + external), code: 250 });
    });
  },
});
