/** Rates as an operator writes them: `60/1m`, so many in so long. */
import { type Duration, duration, z } from "../../server/plugin.ts";

/** So many at once, and as many more in each period, spread evenly over it. */
export interface Rate {
  /** The size of the bucket. */
  readonly count: number;
  /** Milliseconds in which an empty bucket is full again. */
  readonly period: number;
  /** As it was written. */
  readonly text: string;
}

/** An option that is a rate, or `off`; the handler sees a {@linkcode Rate} or nothing. */
export const rate = () =>
  z.string().meta({ title: "rate or `off`", examples: ["60/1m"] }).transform((text, context) => {
    if (text === "off") return undefined;
    const [, count, period] = /^([1-9][0-9]{0,6})\/([1-9][0-9]{0,2}(?:s|m|h|d))$/.exec(text) ?? [];
    const read = duration().safeParse(period);
    if (count !== undefined && read.success) return { count: Number(count), period: read.data, text };
    context.issues.push({
      code: "custom",
      input: text,
      message: `"${text}" is not a rate such as 60/1m (60 in a minute), 500/1h, or off`,
    });
    return z.NEVER;
  });

/** Milliseconds as a time to live: in seconds, since nine digits are all that a duration may have. */
export const lasting = (ms: number): Duration => `${Math.min(999_999_999, Math.ceil(ms / 1000))}s`;
