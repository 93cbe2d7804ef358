/** The version, from the one place it is written down. */
import manifest from "../deno.json" with { type: "json" };

export const version: string = manifest.version;
