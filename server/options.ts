/**
 * Schemas for a plugin's options that zod has no word for: what an operator writes as text (`5m`, `25MiB`,
 * `10.0.0.0/8`, a path, a transport's name) becomes a checked value. A default is given as the operator would write it.
 */
import { resolve } from "node:path";
import ipaddr from "ipaddr.js";
import { z } from "zod";
import { ipv4Number } from "./ipv4.ts";
import type { Transport } from "./plugin.ts";

/** A length of time as it is written: `500ms`, `30s`, `5m`, `36h`, `5d`. */
export type Duration = `${number}${"ms" | "s" | "m" | "h" | "d"}`;
/** A number of bytes as it is written: `512B`, `64KiB`, `25MiB`, `1GiB`. */
export type Size = `${number}${"B" | "KiB" | "MiB" | "GiB"}`;

/** A network, that knows which addresses are in it (IPv4-mapped IPv6 counts as IPv4). */
export interface Cidr {
  /** Whether the address, in any textual form of IPv4 or IPv6, is in this network. */
  has(address: string): boolean;
  /** As it was written. */
  toString(): string;
}

/** The schema of an option that is written as an `I` and becomes a `T`. */
export type OptionSchema<I, T> = z.ZodCodec<z.ZodType<I, I>, z.ZodType<T, T>>;

/** Makes a schema of text that `read` turns into a value; `undefined` from it is a problem, named by `kind` and examples. */
function text<T>(
  kind: string,
  examples: string[],
  read: (text: string) => T | undefined,
): OptionSchema<string, T> {
  return z.codec(z.string().meta({ title: kind, examples }), z.custom<T>(), { // examples on the inside: toJSONSchema drops a codec's own
    decode(value, context) {
      const out = read(value);
      if (out !== undefined) return out;
      const message = `"${value}" is not a ${kind} such as ${examples.join(", ")}`;
      context.issues.push({ code: "custom", input: value, message });
      return z.NEVER;
    },
    encode: (value) => String(value),
  }) as unknown as OptionSchema<string, T>;
}

/** Makes the schema of an option; with a default (as the operator would write it) the option may be left out. */
export interface OptionMaker<I extends string, T> {
  /** An option that must be given. */
  (): OptionSchema<I, T>;
  /** An option with a default. */
  (fallback: I): z.ZodPrefault<OptionSchema<I, T>>;
}

function helper<I extends string, T>(
  kind: string,
  examples: string[],
  read: (text: string) => T | undefined,
): OptionMaker<I, T> {
  function make(): OptionSchema<I, T>;
  function make(fallback: I): z.ZodPrefault<OptionSchema<I, T>>;
  function make(fallback?: I): z.ZodType {
    const schema = text(kind, examples, read);
    return fallback === undefined ? schema : schema.prefault(fallback);
  }
  return make;
}

const milliseconds: Record<string, number> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 };
const bytes: Record<string, number> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** `5m` → 300000; `undefined` where the text is no duration. */
export function readDuration(text: string): number | undefined {
  const found = /^([0-9]{1,9})(ms|s|m|h|d)$/.exec(text);
  return found ? Number(found[1]) * milliseconds[found[2]!]! : undefined;
}

/** `64KiB` → 65536; `undefined` where the text is no size. */
export function readSize(text: string): number | undefined {
  const found = /^([0-9]{1,9})(B|KiB|MiB|GiB)$/.exec(text);
  return found ? Number(found[1]) * bytes[found[2]!]! : undefined;
}

/** `10.0.0.0/8`, `2001:db8::/32` or a single address → a network; `undefined` where the text is none. */
export function readCidr(text: string): Cidr | undefined {
  const single = ipaddr.isValid(text) && !text.includes("/");
  // isValid takes inet_aton's short forms (`127.1`), which people misread.
  if (single && !text.includes(":") && !ipaddr.IPv4.isValidFourPartDecimal(text)) return undefined;
  const whole = single ? `${text}/${text.includes(":") ? 128 : 32}` : text;
  if (
    !ipaddr.isValidCIDR(whole) || (!whole.includes(":") && !ipaddr.IPv4.isValidCIDRFourPartDecimal(whole))
  ) return undefined;
  const [given, givenLength] = ipaddr.parseCIDR(whole);
  // A mapped network is meant as the IPv4 one: addresses are compared as IPv4 below.
  const mapped = given instanceof ipaddr.IPv6 && given.isIPv4MappedAddress() && givenLength >= 96;
  const [base, length] = mapped
    ? [given.toIPv4Address(), givenLength - 96] as const
    : [given, givenLength] as const;
  const size = 2 ** (32 - length);
  const block = base.kind() === "ipv4" ? Math.floor(ipv4Number(base.toString())! / size) : undefined;
  return {
    has(address) {
      const number = ipv4Number(address);
      if (number !== undefined) return Math.floor(number / size) === block;
      if (!ipaddr.isValid(address)) return false;
      const candidate = ipaddr.process(address); // IPv4-mapped IPv6 becomes IPv4
      return candidate.kind() === base.kind() && candidate.match(base, length);
    },
    toString: () => text,
  };
}

/**
 * An option that is a length of time; the handler sees milliseconds.
 *
 * @example
 * ```ts
 * import { duration, z } from "postrider";
 * import { strictEqual as equal } from "node:assert/strict";
 * equal(z.object({ wait: duration("5m") }).parse({}).wait, 300_000);
 * ```
 */
export const duration: OptionMaker<Duration, number> = helper("duration", ["30s", "5m", "36h"], readDuration);

/**
 * An option that is a number of bytes; the handler sees the number.
 *
 * @example
 * ```ts
 * import { size, z } from "postrider";
 * import { strictEqual as equal } from "node:assert/strict";
 * equal(z.object({ max: size() }).parse({ max: "64KiB" }).max, 65_536);
 * ```
 */
export const size: OptionMaker<Size, number> = helper("size", ["64KiB", "25MiB"], readSize);

/**
 * An option that is a network; the handler sees a {@linkcode Cidr}.
 *
 * @example
 * ```ts
 * import { cidr, z } from "postrider";
 * import { strictEqual as equal } from "node:assert/strict";
 * const { nets } = z.object({ nets: z.array(cidr()) }).parse({ nets: ["10.0.0.0/8"] });
 * equal(nets.some((net) => net.has("::ffff:10.1.2.3")), true);
 * ```
 */
export const cidr: OptionMaker<string, Cidr> = helper("network", ["10.0.0.0/8", "2001:db8::/32"], readCidr);

/**
 * An option that names a transport of another plugin; checked once every plugin is set up.
 *
 * @example
 * ```ts
 * import { transport, z } from "postrider";
 * import { strictEqual as equal } from "node:assert/strict";
 * equal(z.object({ via: transport("maildir") }).parse({}).via.transport, "maildir");
 * ```
 */
export const transport: OptionMaker<string, Transport> = helper("transport", ["maildir"], (name) => {
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) return undefined;
  const named: Transport = { transport: name };
  namedByOptions?.push(named);
  return named;
});

/**
 * An option that is a path; the handler sees it absolute, taken relative to the file it stands in.
 *
 * @example
 * ```ts
 * import { path, z } from "postrider";
 * import { strictEqual as equal } from "node:assert/strict";
 * equal(z.object({ users: path() }).parse({ users: "/etc/users.yaml" }).users, "/etc/users.yaml");
 * ```
 */
export const path: OptionMaker<string, string> = helper("path", ["users.yaml"], (text) => {
  if (text === "" || text.includes("\0")) return undefined;
  return resolve(baseFolder ?? Deno.cwd(), text);
});

// What a parse of options needs besides the value: set for the length of one synchronous parse.
let baseFolder: string | undefined;
let namedByOptions: Transport[] | undefined;

/** Runs a synchronous parse with paths relative to `folder`; also says which transports the options named. For the loader. */
export function parsingIn<T>(folder: string, parse: () => T): { value: T; transports: Transport[] } {
  [baseFolder, namedByOptions] = [folder, []];
  try {
    return { value: parse(), transports: namedByOptions };
  } finally {
    [baseFolder, namedByOptions] = [undefined, undefined];
  }
}
