/** The configuration's `outbound:`: how mail for others is sent on. */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { z } from "zod";
import { parseRetry, type Schedule } from "../delivery/schedule.ts";
import { duration, path } from "../options.ts";
import { parseAddress, parseDomain } from "../smtp/address.ts";

const longestWait = 30 * 864e5;

function wait(fallback: Parameters<typeof duration>[0]) {
  return duration(fallback).refine((ms) => ms > 0, "must be more than nothing")
    .refine((ms) => ms <= longestWait, "must be at most 30d");
}

function count(fallback: number, most: number) {
  return z.int().min(1).max(most).default(fallback);
}

const port = z.int().min(1).max(65_535);

const retry = z.array(z.string()).min(1).default(["1m", "5m x2", "15m x4", "1h x8", "4h"])
  .transform((texts, context): Schedule => {
    for (const [i, text] of texts.entries()) {
      const problem = parseRetry([text]);
      if (typeof problem === "string") {
        context.addIssue({ code: "custom", path: [i], message: problem });
      }
    }
    const schedule = parseRetry(texts);
    return typeof schedule === "string" ? z.NEVER : schedule;
  });

/** `*`, `example.org`, `*.example.org` → lower case, in A-labels. */
function readPattern(text: string): string | undefined {
  if (text === "*") return text;
  const wild = text.startsWith("*.");
  const domain = parseDomain(wild ? text.slice(2) : text);
  return domain === undefined || (wild && domain.startsWith("[")) ? undefined : wild ? `*.${domain}` : domain;
}

/** A mapping from domains to something, as a Map: a domain may be called `__proto__`. */
function byDomain<T extends z.ZodType>(value: T) {
  return z.record(z.string(), value).default({}).transform((given, context) => {
    const table = new Map<string, z.output<T>>();
    for (const [text, entry] of Object.entries(given) as [string, z.output<T>][]) {
      const pattern = readPattern(text);
      const problem = pattern === undefined
        ? `"${text}" is not a domain: write example.org, *.example.org for those below it, or * for all others`
        : table.has(pattern)
        ? `"${text}" stands here twice`
        : undefined;
      if (problem !== undefined) context.addIssue({ code: "custom", path: [text], message: problem });
      else table.set(pattern!, entry);
    }
    return table as ReadonlyMap<string, z.output<T>>;
  });
}

const host = z.string().meta({ examples: ["smarthost.example.net"] }).transform((text, context) => {
  if (isIP(text) && !text.includes("%")) return ipaddr.parse(text).toString();
  const domain = parseDomain(text);
  if (domain !== undefined && !domain.startsWith("[")) return domain;
  context.addIssue({
    code: "custom",
    message:
      `"${text}" is not a host such as smarthost.example.net, or an IP address; its port stands beside it`,
  });
  return z.NEVER;
});

const source = z.string().meta({ examples: ["192.0.2.25"] }).transform((text, context) => {
  if (isIP(text) && !text.includes("%")) return ipaddr.parse(text).toString();
  context.addIssue({ code: "custom", message: `"${text}" is not an IP address of this machine` });
  return z.NEVER;
});

const helo = z.string().meta({ examples: ["out1.example.org"] }).transform((text, context) => {
  const domain = parseDomain(text);
  if (domain !== undefined) return domain;
  context.addIssue({ code: "custom", message: `"${text}" is not a host name such as out1.example.org` });
  return z.NEVER;
});

const auth = z.strictObject({
  user: z.string().min(1).refine((text) => !/[\0\r\n]/.test(text), "must be on one line")
    .describe("the account at the smart host"),
  password: z.string().min(1).refine((text) => !text.includes("\0"), "has a NUL in it").optional()
    .describe('its password; better "${env:NAME}" or passwordFile, which keep it out of this file'),
  passwordFile: path().meta({ examples: ["./smarthost.password"] }).optional()
    .describe("a file that holds its password on one line; read at each login"),
}).superRefine(({ password, passwordFile }, context) => {
  if ((password === undefined) === (passwordFile === undefined)) {
    context.addIssue({ code: "custom", message: 'needs a "password" or a "passwordFile", one of them' });
  }
});

const route = z.strictObject({
  host: host.optional().describe("the host that takes the mail; absent: those that MX names"),
  port: port.optional().describe("its port; default: outbound.port"),
  auth: auth.optional().describe("how to log in there"),
  tls: z.enum(["opportunistic", "required", "none", "implicit"]).optional().describe(
    "as outbound.tls, or implicit: verified TLS from the first byte; default with auth: required, with port 465: implicit",
  ),
  source: source.optional().describe("the IP address of this machine to connect from"),
  helo: helo.optional().describe("the name said in EHLO; default: hostname"),
}).superRefine((one, context) => {
  for (const key of ["port", "auth"] as const) {
    if (one.host === undefined && one[key] !== undefined) {
      context.addIssue({ code: "custom", path: [key], message: 'needs a "host" beside it' });
    }
  }
  if (one.host === undefined && one.tls === "implicit") {
    context.addIssue({
      code: "custom",
      path: ["tls"],
      message: 'MX hosts have no implicit TLS: write "required"',
    });
  }
});

const concurrency = z.strictObject({
  total: count(200, 10_000).describe("connections at a time"),
  perDestination: count(20, 10_000).describe("connections at a time to one destination"),
}).prefault({}).superRefine(({ total, perDestination }, context) => {
  if (perDestination <= total) return;
  context.addIssue({ code: "custom", path: ["perDestination"], message: `is more than the total, ${total}` });
});

const mailbox = z.string().meta({ examples: ["tls-reports@example.org"] }).transform((text, context) => {
  const address = parseAddress(text);
  if (address !== undefined && address.domain !== "") return address.address;
  context.addIssue({
    code: "custom",
    message: `"${text}" is not an address such as tls-reports@example.org`,
  });
  return z.NEVER;
});

const line = z.string().min(1).max(200).refine((text) => !/\p{Cc}/u.test(text), "must be on one line");

const tlsReports = z.strictObject({
  from: mailbox.describe("the address they come from, which the plugin that signs mail must know"),
  organization: line.optional().describe("who sends them; default: the domain of `from`"),
  contact: line.optional().describe("where their readers may ask; default: `from`"),
});

/** The schema of `outbound:`. */
export const outbound = z.strictObject({
  retry: retry.describe("waits between attempts; the last one repeats"),
  giveUpAfter: wait("5d").describe("how old a message may get before its sender hears that it failed"),
  delayNoticeAfter: wait("4h").describe("how old it is when its sender hears that it is late"),
  route: byDomain(route).describe("by recipient domain: a host to send through; absent: MX"),
  concurrency: concurrency.describe("how much is sent at a time"),
  tls: byDomain(z.enum(["opportunistic", "required", "none"])).describe(
    "by recipient domain: TLS where it can be had, verified or not sent at all, or never; default: opportunistic",
  ),
  mtaSts: z.boolean().default(true).describe(
    "whether the TLS policies that domains publish by MTA-STS (RFC 8461) are kept to",
  ),
  dane: z.boolean().optional().describe(
    "whether hosts' TLSA records (DANE, RFC 7672) are kept to: true warns at start where the DNS server validates nothing; absent: where it validates",
  ),
  tlsReports: tlsReports.optional().describe(
    "who sends reports on TLS (RFC 8460) to domains that ask for them; absent: none are sent",
  ),
  port: port.default(25).describe("the port of MX hosts"),
  allowPrivateAddresses: z.boolean().default(false).describe(
    "whether an MX may point at loopback, private and link-local addresses",
  ),
  eightBit: z.enum(["send", "bounce"]).default("send").describe(
    "what becomes of 8-bit content for a host without 8BITMIME",
  ),
  authorities: path().meta({ examples: ["./own-ca.pem"] }).optional().describe(
    "PEM file of certificate authorities that are trusted besides the system's",
  ),
}).prefault({});

/** `outbound:`, checked. */
export type Outbound = z.output<typeof outbound>;
/** One entry of `outbound.route`. */
export type Route = z.output<typeof route>;
