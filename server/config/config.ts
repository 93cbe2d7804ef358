/** The configuration: what may stand in it, what it means, and what is taken where it says nothing. */
import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import ipaddr from "ipaddr.js";
import { z } from "zod";
import { cidr, duration, path, size } from "../options.ts";
import { parseDomain } from "../smtp/address.ts";
import { admin } from "./admin.ts";
import { outbound } from "./outbound.ts";
import type { Path } from "./problem.ts";
import { tracking } from "./tracking.ts";

// ── Words ──────────────────────────────────────────────────────────────────────────────────────────

/** The A-label form of a domain name (RFC 5890 §2.3.2.1), lower case; `undefined` where it is none. */
function readDomain(text: string): string | undefined {
  const domain = domainToASCII(text).toLowerCase();
  const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
  const shaped = domain.length <= 253 && new RegExp(`^${label}(?:\\.${label})*$`).test(domain);
  return shaped && !/(^|\.)[0-9]+$/.test(domain) ? domain : undefined; // a last label of digits is an IPv4 address
}

const hostname = z.string().meta({ examples: ["mx.example.org"] }).transform((text, context) => {
  const domain = readDomain(text);
  if (domain !== undefined && (domain.includes(".") || domain === "localhost")) return domain;
  const because = text.endsWith(".")
    ? "write it without the dot at its end"
    : domain !== undefined
    ? "other servers want it with its domain, such as mx.example.org"
    : "write a domain name such as mx.example.org";
  context.addIssue({ code: "custom", message: `"${text}" is not a full host name: ${because}` });
  return z.NEVER;
});

const serverName = z.string().meta({ examples: ["mx.example.org", "*.example.org"] }).transform(
  (text, context) => {
    const wild = text.startsWith("*.");
    const domain = readDomain(wild ? text.slice(2) : text);
    if (domain !== undefined) return wild ? `*.${domain}` : domain;
    context.addIssue({
      code: "custom",
      message: `"${text}" is not a host name such as mx.example.org or *.example.org`,
    });
    return z.NEVER;
  },
);

const ip = z.string().meta({ examples: ["127.0.0.1", "::1"] }).transform((text, context) => {
  if (isIP(text) && !text.includes("%")) return ipaddr.parse(text).toString();
  context.addIssue({ code: "custom", message: `"${text}" is not an IP address such as 127.0.0.1 or ::1` });
  return z.NEVER;
});

const dnsServer = z.string().meta({ examples: ["127.0.0.1:53", "[::1]:53"] }).transform((text, context) => {
  const [, six, four, digits] = /^(?:\[([^\]]*)\]|([^:]*))(?::([0-9]{1,5}))?$/.exec(text) ?? [];
  const address = six ?? four ?? (isIP(text) ? text : "");
  const port = Number(digits ?? 53);
  const version = six === undefined ? four === undefined ? isIP(text) : 4 : 6;
  if (isIP(address) === version && version !== 0 && port >= 1 && port <= 65_535) return { address, port };
  context.addIssue({
    code: "custom",
    message: `"${text}" is not an address of a DNS server such as 127.0.0.1:53`,
  });
  return z.NEVER;
});

function count(fallback: number) {
  return z.int().min(1).max(1_000_000_000).default(fallback);
}

function file(example: string) {
  return path().meta({ examples: [example] });
}

const moreThanNothing = "must be more than nothing";
const longestWait = 7 * 864e5;
function wait(fallback: Parameters<typeof duration>[0]) {
  return duration(fallback).refine((ms) => ms > 0, moreThanNothing).refine(
    (ms) => ms <= longestWait,
    "must be at most 7d",
  );
}

// ── Keys, each on its own, so that one can be taken in or out ──────────────────────────────────────

const role = z.enum(["mx", "submission"]);

const clientCertificates = z.strictObject({
  ca: file("clients-ca.pem").describe("PEM file of the authorities whose certificates are trusted"),
  required: z.boolean().default(false).describe("whether a client without a trusted one is sent away"),
});

const listener = z.strictObject({
  port: z.int().min(0).max(65_535).optional().describe("TCP port; 0 takes any free one"),
  address: ip.optional().describe("the IP address to listen on; absent: all interfaces"),
  path: file("./lmtp.sock").optional().describe("a Unix socket to listen on, instead of a port"),
  systemd: z.string().regex(/^[!-9;-~]{1,255}$/, "is no name of a socket of systemd").optional().describe(
    "the name (FileDescriptorName=) of sockets that systemd has opened, instead of a port",
  ),
  protocol: z.enum(["smtp", "lmtp"]).default("smtp").describe(
    "the protocol spoken: smtp, or lmtp (RFC 2033)",
  ),
  role: role.default("mx").describe(
    "mx takes mail for local domains; submission takes any mail, from users who logged in",
  ),
  tls: z.enum(["starttls", "implicit", "none"]).default("starttls")
    .describe("starttls: offered where there is a certificate; implicit: from the first byte; none: never"),
  clientCertificates: clientCertificates.optional().describe(
    "asks clients for a certificate when TLS begins",
  ),
  auth: z.boolean().optional().describe("whether users may log in; always so with role submission"),
  allowPlain: z.boolean().default(false).describe(
    "lets users log in without TLS; on loopback addresses and Unix sockets only",
  ),
}).meta({ oneOf: [{ required: ["port"] }, { required: ["path"] }, { required: ["systemd"] }] }).superRefine(
  (one, context) => {
    for (const { path, message } of listenerRules(one)) {
      context.addIssue({ code: "custom", path: [...path], message });
    }
  },
).transform(({ port, address, path, systemd, auth, ...rest }): Listener => ({
  ...rest,
  auth: auth ?? rest.role === "submission",
  ...(systemd !== undefined
    ? { kind: "systemd" as const, systemd }
    : path === undefined
    ? { kind: "tcp" as const, port: port ?? 0, address }
    : { kind: "unix" as const, path }),
}));

interface CommonListener {
  readonly protocol: "smtp" | "lmtp";
  readonly role: "mx" | "submission";
  readonly tls: "starttls" | "implicit" | "none";
  /** AUTH may be offered: where there is TLS, or where `allowPlain` says so. */
  readonly auth: boolean;
  readonly allowPlain: boolean;
  /** Clients are asked for certificates. */
  readonly clientCertificates?: ClientCertificates | undefined;
}

/** Whose certificates clients may show. */
export interface ClientCertificates {
  /** Absolute. */
  readonly ca: string;
  readonly required: boolean;
}

/** A TCP port that is listened on; `address` absent: on all interfaces. */
export interface TcpListener extends CommonListener {
  readonly kind: "tcp";
  readonly port: number;
  readonly address: string | undefined;
}

/** A Unix socket that is listened on. */
export interface UnixListener extends CommonListener {
  readonly kind: "unix";
  /** Absolute. */
  readonly path: string;
}

/** Sockets that systemd has opened. */
export interface SystemdListener extends CommonListener {
  readonly kind: "systemd";
  /** The name that all of them have. */
  readonly systemd: string;
}

/** One entry of `listen:`. */
export type Listener = TcpListener | UnixListener | SystemdListener;

interface Remark {
  readonly path: Path;
  readonly message: string;
}

/** What is wrong with one entry of `listen:` taken alone. */
function* listenerRules(one: {
  port?: number | undefined;
  path?: string | undefined;
  address?: string | undefined;
  systemd?: string | undefined;
  protocol: "smtp" | "lmtp";
  role: "mx" | "submission";
  tls: "starttls" | "implicit" | "none";
  auth?: boolean | undefined;
  allowPlain: boolean;
  clientCertificates?: { required: boolean } | undefined;
}): Generator<Remark> {
  const unix = one.path !== undefined;
  const passed = one.systemd !== undefined;
  if (!unix && !passed && one.port === undefined) {
    yield { path: [], message: 'needs a "port", or a "path" of a Unix socket' };
  }
  if (passed) {
    for (const key of ["port", "path", "address"] as const) {
      if (one[key] !== undefined) yield { path: [key], message: 'cannot stand beside "systemd"' };
    }
  }
  if (unix && one.port !== undefined) {
    yield { path: ["path"], message: 'cannot stand beside "port": listen on one of them' };
  }
  if (unix && one.address !== undefined) yield { path: ["address"], message: 'cannot stand beside "path"' };
  if (unix && one.tls === "implicit") yield { path: ["tls"], message: "a Unix socket has no TLS" };
  if (one.clientCertificates && (unix || one.tls === "none")) {
    yield {
      path: ["clientCertificates"],
      message: "certificates are shown in TLS, which there is none of here",
    };
  }
  if (one.clientCertificates?.required && one.tls !== "implicit") {
    yield {
      path: ["clientCertificates", "required"],
      message: 'with "tls: starttls" a client need not begin TLS at all: add "tls: implicit"',
    };
  }
  if (one.protocol === "lmtp" && one.port === 25) {
    yield { path: ["protocol"], message: "LMTP must not be spoken on port 25 (RFC 2033 §5)" };
  }
  if (one.protocol === "lmtp" && one.role === "submission") {
    yield { path: ["role"], message: "submission is SMTP, not LMTP" };
  }
  if (one.role === "submission" && one.auth === false) {
    yield { path: ["auth"], message: "users must log in to submit mail: remove this" };
  }
  if (one.allowPlain && !unix && !isLoopback(one.address)) {
    yield {
      path: ["allowPlain"],
      message: "passwords would cross the network unencrypted: only with a loopback address",
    };
  }
}

const listen = z.array(listener).min(1).superRefine((listeners, context) => {
  for (const [i, one] of listeners.entries()) {
    const first = listeners.findIndex((other) => overlap(one, other));
    if (first === i) continue;
    const message = `listens where item ${
      first + 1
    } listens already: remove one, or give them different addresses`;
    context.addIssue({ code: "custom", path: [i], message });
  }
});

/** Whether one of them could not be opened because of the other. `::` takes IPv4 connections, too. */
function overlap(one: Listener, other: Listener): boolean {
  if (one === other) return true;
  if (one.kind === "unix") return other.kind === "unix" && one.path === other.path;
  if (one.kind === "systemd") return other.kind === "systemd" && one.systemd === other.systemd;
  if (other.kind !== "tcp") return false;
  if (one.port === 0 || one.port !== other.port) return false;
  const [a, b] = [one.address ?? "::", other.address ?? "::"];
  const covers = (wide: string, narrow: string) =>
    wide === "::" || (wide === "0.0.0.0" && isIP(narrow) === 4);
  return a === b || covers(a, b) || covers(b, a);
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && ipaddr.process(address).range() === "loopback";
}

const certificate = z.strictObject({
  cert: file("fullchain.pem").describe("PEM file of the certificate, followed by its chain"),
  key: file("privkey.pem").describe("PEM file of its private key"),
  names: z.array(serverName).min(1).optional().describe(
    "the server names (SNI) it is for; the first entry is for all others, too",
  ),
});

const certificates = z.array(certificate).min(1).superRefine((list, context) => {
  const taken = new Set<string>();
  for (const [i, { names }] of list.entries()) {
    if (i > 0 && !names) {
      context.addIssue({
        code: "custom",
        path: [i],
        message: 'needs "names": only the first can do without',
      });
    }
    for (const [n, name] of (names ?? []).entries()) {
      if (taken.has(name)) {
        context.addIssue({ code: "custom", path: [i, "names", n], message: `"${name}" stands here twice` });
      }
      taken.add(name);
    }
  }
});

const tls = z.union([certificate, certificates]).optional()
  .transform((given) => given === undefined ? [] : Array.isArray(given) ? given : [given]);

const user = z.string().meta({ examples: ["postrider"] })
  .refine(
    (name) => /^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$/.test(name),
    "is not the name of a system user such as postrider",
  );

const limits = z.strictObject({
  message: size("50MiB").refine((bytes) => bytes > 0, moreThanNothing)
    .refine(Number.isSafeInteger, "is more than any disk holds").describe(
      "the largest message, as EHLO announces it",
    ),
  recipients: count(1000).describe("recipients of one message"),
  connections: count(2000).describe("connections at a time"),
  connectionsPerIp: count(50).describe("connections at a time from one IPv4 address or one IPv6 /64"),
  errors: count(10).describe(
    "protocol errors since the last accepted message; one more closes the connection",
  ),
  refusedRecipients: count(100).describe("refused recipients of one connection; one more closes it"),
  hops: count(100).describe("Received header fields of a message; more is a loop"),
  bareNewlines: z.enum(["normalize", "reject"]).default("normalize")
    .describe("what becomes of a CR or LF that stands alone in a message"),
}).prefault({});

const timeouts = z.strictObject({
  command: wait("5m").describe("how long a client may take for its next command (RFC 5321 §4.5.3.2)"),
  data: wait("5m").describe("how long a client may stay silent within a message"),
  plugin: wait("30s").describe("how long a plugin may take for one answer; each can have its own"),
}).prefault({});

const trustedNetworks = z.array(cidr()).default([]);

const proxies = z.strictObject({
  haproxy: z.array(cidr()).default([]).describe(
    "proxies whose every connection begins with a PROXY header, version 1 or 2",
  ),
  xclient: z.array(cidr()).default([]).describe(
    "proxies that may say by XCLIENT, once, whose a connection is",
  ),
  xclientLogin: z.boolean().default(false).describe(
    "whether those of `xclient` may also say who has logged in (LOGIN)",
  ),
}).prefault({});

const ownPlugin = /^(\.{0,2}\/|file:\/\/\/)/;
const use = z.string().meta({ examples: ["maildir", "./greylist.ts"] }).superRefine((text, context) => {
  if (/^[a-z][a-z0-9-]*$/.test(text) || (ownPlugin.test(text) && !text.includes("\0"))) return;
  const message = /[./]/.test(text) && !text.includes("\0")
    ? `"${text}" is no bundled plugin: write a file of your own as "./${text}"`
    : `"${text}" is neither the name of a bundled plugin nor a path such as ./greylist.ts`;
  context.addIssue({ code: "custom", message });
}).describe("the name of a bundled plugin, or the path of one of your own");

const granted = (items: z.ZodType<string, string>, what: string) =>
  z.union([z.boolean(), z.array(items).min(1)]).optional().describe(`true: any; or a list of ${what}`);
const word = z.string().min(1);

const isolate = z.strictObject({
  net: granted(word, "hosts that it may connect to, as example.org, example.org:443 or 10.0.0.1"),
  read: granted(file("./words.txt"), "files and folders that it may read"),
  write: granted(file("./out"), "files and folders that it may write"),
  env: granted(word, "environment variables that it may read"),
  run: granted(word, "programs that it may start, which are not isolated"),
  sys: granted(word, "what it may learn of the system, as hostname"),
});

const entry = z.strictObject({
  use,
  with: z.unknown().optional().describe("the plugin's own options"),
  as: z.string().refine(
    (name) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name),
    "must be letters, digits, dots, hyphens",
  )
    .optional().describe("what this instance is called: where one plugin is used twice"),
  timeout: duration().refine((ms) => ms > 0, moreThanNothing).refine(
    (ms) => ms <= longestWait,
    "must be at most 7d",
  )
    .optional().describe("how long this plugin may take for one answer; default: timeouts.plugin"),
  onError: z.enum(["defer", "skip", "reject"]).default("defer").describe(
    "what becomes of a call when the plugin itself fails",
  ),
  roles: z.array(role).min(1).optional().describe(
    "the roles of listeners it is asked on; default: the plugin's own",
  ),
  observe: z.boolean().default(false).describe("true: asked, but what it says is only logged"),
  when: z.enum(["arrival", "queued"]).optional().describe(
    "when it is asked about a message: on its arrival, before the reply, which is the default; or queued, after the reply and before the first attempt",
  ),
  isolate: isolate.optional().describe(
    "runs it in a thread of its own, where it may do what is listed here only",
  ),
});

// The short form is the long one without options: what follows knows one form only.
const plugin = z.union([use, entry])
  .transform((given): z.output<typeof entry> =>
    typeof given === "string" ? { use: given, onError: "defer", observe: false } : given
  );

const probe = z.string().default("org").meta({ examples: ["org"] }).transform((text, context) => {
  const domain = parseDomain(text);
  if (domain !== undefined && !domain.startsWith("[")) return domain;
  context.addIssue({ code: "custom", message: `"${text}" is not a domain such as org` });
  return z.NEVER;
});

const dns = z.strictObject({
  servers: z.array(dnsServer).default([]).describe(
    "the DNS servers to ask; absent: those of /etc/resolv.conf",
  ),
  trustAd: z.boolean().default(false).describe(
    "whether servers on other machines are believed when they say that an answer was validated (DNSSEC)",
  ),
  probe: probe.describe("a domain that is signed, asked for at start to learn whether the servers validate"),
}).prefault({});

const log = z.strictObject({
  level: z.enum(["debug", "info", "warning", "error"]).default("info").describe(
    "the least important events that are logged",
  ),
  format: z.enum(["text", "json"]).default("text").describe("text for people, json for machines"),
}).prefault({});

// ── The whole ──────────────────────────────────────────────────────────────────────────────────────

/** The schema of the file; parse with it only through `readConfig`, for its paths are relative to the file. */
export const config = z.strictObject({
  hostname: hostname.describe("the name this server says in its banner and EHLO, e.g. mx.example.org"),
  state: file("./state").describe("the folder for the spool and for what plugins remember, e.g. ./state"),
  listen: listen.describe("where mail comes in, e.g. [{ port: 25 }]"),
  user: user.optional().describe("the system user this server becomes once it listens"),
  tls: tls.describe("the certificate and its key, or a list of them, each with the names it is for"),
  limits: limits.describe("what a client may use up"),
  timeouts: timeouts.describe("how long this server waits"),
  trustedNetworks: trustedNetworks.describe(
    "own machines: no checks of their reputation; dkim-sign signs their mail",
  ),
  proxies: proxies.describe(
    "proxies in front of this server: who is believed when it says whose a connection is",
  ),
  plugins: z.array(plugin).min(1).describe(
    "what decides about mail, asked in this order, e.g. [relay, maildir]",
  ),
  outbound: outbound.describe("how mail leaves: when it is tried again, where it is sent, with which TLS"),
  admin: admin.describe(
    "where those who watch the server may ask it: /metrics and /healthz; absent: nowhere",
  ),
  tracking: tracking.describe("what `track` can tell of messages, and how long"),
  dns: dns.describe("how names are looked up"),
  log: log.describe("what is logged, and how"),
});

type Frozen<T> = T extends (...args: never[]) => unknown ? T
  : T extends readonly (infer E)[] ? readonly Frozen<E>[]
  : T extends object ? { readonly [K in keyof T]: Frozen<T[K]> }
  : T;

/** A configuration, checked: durations in milliseconds, sizes in bytes, paths absolute, defaults filled in. */
export type Config = Frozen<z.output<typeof config>>;
/** One entry of `plugins:`; its `with` is as it stands in the file, with variables replaced. */
export type PluginEntry = Config["plugins"][number];
/** One certificate with its key; the first one is also for server names that nobody else has. */
export type Certificate = Config["tls"][number];

// ── What only several keys together show ───────────────────────────────────────────────────────────

/**
 * What is wrong with listeners beside the certificates there are.
 *
 * @param listeners `listen:`, parsed, even where other parts of the file are wrong.
 * @param hasTls Whether the file has `tls:`.
 */
export function* listenRemarks(
  listeners: readonly Listener[],
  hasTls: boolean,
): Generator<Remark & { severity: "error" | "warning" }> {
  for (const [i, one] of listeners.entries()) {
    if (one.tls === "implicit" && !hasTls) {
      const message =
        'implicit TLS needs a certificate: add "tls: { cert: FILE, key: FILE }" to the configuration';
      yield { path: ["listen", i, "tls"], message, severity: "error" };
    }
    const encrypts = hasTls && one.tls !== "none" && one.kind !== "unix";
    if (!one.auth || one.allowPlain || encrypts || one.tls === "implicit") continue;
    const local = one.kind === "unix" || (one.kind === "tcp" && isLoopback(one.address));
    const remedy = hasTls && one.tls === "none"
      ? 'remove "tls: none"'
      : 'add "tls: { cert: FILE, key: FILE }" to the configuration';
    const also = local ? ', or "allowPlain: true" to this listener' : "";
    const message = `nobody can log in here, for AUTH is not offered without TLS: ${remedy}${also}`;
    yield { path: ["listen", i], message, severity: "warning" };
  }
}
