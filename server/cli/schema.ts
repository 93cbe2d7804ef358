/** `schema`: the JSON Schema of the configuration, bundled plugins included, for editors that complete and check. */
import { bundled } from "../bundled.ts";
import { configSchema, type Described } from "../config/schema.ts";
import type { Cli, ExitCode } from "./io.ts";

/** Prints it to standard output. */
export async function schema(cli: Cli): Promise<ExitCode> {
  const plugins: Described[] = [];
  for (const [name, load] of Object.entries(bundled)) {
    const { options } = (await load()).default as Omit<Described, "name">;
    plugins.push({ name, ...(options && { options }) });
  }
  cli.stdout.write(`${JSON.stringify(configSchema(plugins), null, 2)}\n`);
  return 0;
}
