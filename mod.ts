/**
 * Postrider, a programmable mail server: run it (`deno run -A mod.ts serve --config FILE`), write plugins for it
 * ({@linkcode definePlugin}), or embed it ({@linkcode Server}).
 *
 * @module
 */
import { main } from "./server/cli/main.ts";

export * from "./server/plugin.ts";
export { type Embedding, Server, StartRefused } from "./server/server.ts";
export { formatProblem, type Position, type Problem } from "./server/config/problem.ts";

// Not awaited: a plugin that imports "postrider" waits for this module to have run to its end.
if (import.meta.main) main(Deno.args).then((code) => Deno.exit(code));
