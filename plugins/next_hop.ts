/** Options that plugins share which hand mail on: a host or several, and how to speak with it. */
import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import { type HopAuth, type HostHop, path, z } from "../server/plugin.ts";

/** A host's name, or its IP address; names in A-labels. */
const host = z.string().meta({ examples: ["inside.example.org"] }).transform((text, context) => {
  if (isIP(text) && !text.includes("%")) return text;
  const name = domainToASCII(text);
  const isName = name.length <= 253 &&
    /^[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*$/.test(name);
  if (isName && !/(^|\.)[0-9]+$/.test(name)) return name; // 127.1 is no name, whatever it was meant to be
  const message =
    `"${text}" is not a host such as inside.example.org, or an IP address; its port stands beside it`;
  context.addIssue({ code: "custom", message });
  return z.NEVER;
});

const line = z.string().min(1).refine((text) => !/[\0\r\n]/.test(text), "must be one line");

const auth = z.strictObject({
  user: line.describe("the account there"),
  password: line.optional()
    .describe('its password; better "${env:NAME}" or passwordFile, which keep it out of this file'),
  passwordFile: path().meta({ examples: ["./next-hop.password"] }).optional()
    .describe("a file that holds its password on one line; read at each login"),
}).superRefine(({ password, passwordFile }, context) => {
  if ((password === undefined) === (passwordFile === undefined)) {
    context.addIssue({ code: "custom", message: 'needs a "password" or a "passwordFile", one of them' });
  }
});

const port = z.int().min(1).max(65_535);
const tls = z.enum(["opportunistic", "required", "none", "implicit"]);

/** A host of several: its name, or a mapping with what is its own. */
const listed = z.union([
  host,
  z.object({ host, port: port.optional(), tls: tls.optional(), auth: auth.optional() }),
]);

/** The options, to be spread among a plugin's own; {@linkcode oneOfHosts} checks what concerns several of them. */
export const nextHop = {
  host: host.optional().describe(
    "The next hop: a name, whose addresses are looked up (not its MX), or an IP address",
  ),
  hosts: z.array(listed).min(1).optional().describe(
    "Several, instead of `host`: the first that answers has it; each a name, or a mapping with its own `port`, `tls`, `auth`",
  ),
  port: port.optional().describe("Its port; default: `outbound.port`, 25"),
  tls: tls.optional().describe(
    "As `outbound.tls`, or `implicit`: verified TLS from the first byte; default with `auth`: `required`, with port 465: `implicit`",
  ),
  auth: auth.optional().describe("How to log in there: `user`, and `password` or `passwordFile`"),
};

/** How to speak with a host. */
interface HopHow {
  readonly port?: number | undefined;
  readonly tls?: HostHop["tls"];
  readonly auth?: HopAuth | undefined;
}

/** What the options are once they were read. */
export interface NextHopOptions extends HopHow {
  readonly host?: string | undefined;
  readonly hosts?: readonly (string | HopHow & { readonly host: string })[] | undefined;
}

/** Exactly one of `host` and `hosts`. */
export function oneOfHosts({ host, hosts }: NextHopOptions, context: z.RefinementCtx): void {
  if ((host === undefined) !== (hosts === undefined)) return;
  const message = host === undefined
    ? 'needs a "host", or "hosts"'
    : 'has "host" and "hosts": write one of them';
  context.addIssue({ code: "custom", message });
}

/** The hops, in order; what one says of itself stands above what is said of all. */
export function hopsOf({ host, hosts, ...how }: NextHopOptions): HostHop[] {
  return (hosts ?? [host!]).map((one) => ({ ...how, ...typeof one === "string" ? { host: one } : one }));
}
