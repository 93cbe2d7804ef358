/** The configuration's `tracking:`: what `track` remembers, and how long. */
import { z } from "zod";
import { duration } from "../options.ts";

const [shortest, longest] = [60_000, 3650 * 864e5];

/** The schema of `tracking:`. */
export const tracking = z.strictObject({
  enabled: z.boolean().default(true).describe("false: nothing is recorded for `track`"),
  keep: duration("30d").refine((ms) => ms >= shortest, "must be at least 1m")
    .refine((ms) => ms <= longest, "must be at most 3650d")
    .describe("how long it is remembered what became of a message"),
}).prefault({});
