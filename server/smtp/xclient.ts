/**
 * Who a proxy's client is, as the proxy says it: XCLIENT, as Postfix defines it (XCLIENT_README). Whether the proxy is believed is
 * the caller's to know. `client_identity.ts` is the other end.
 */
import { parseDomain } from "./address.ts";
import { readHello } from "./arguments.ts";
import { decodeXtext } from "./params.ts";

/** A client that a proxy speaks for. What nobody knows is `undefined`. */
export interface ProxiedClient {
  /** Its IP address; of IPv6 in the spelling of RFC 5952. */
  readonly address: string | undefined;
  /** 0 where nobody knows it. */
  readonly port: number;
  /** The name in its EHLO or HELO, as it gave it. */
  readonly helo: string | undefined;
  readonly protocol: "SMTP" | "ESMTP" | undefined;
  /** Who logged in at the proxy. */
  readonly login: string | undefined;
  /** Where the client connected to. */
  readonly destination: { readonly address: string; readonly port: number } | undefined;
}

/** What came of reading the command. */
export type ReadXclient =
  | { readonly kind: "client"; readonly client: ProxiedClient }
  /** An attribute is unknown, malformed, or there twice; or there is no ADDR. */
  | { readonly kind: "malformed" }
  /** It says who logged in, and nobody is to believe that. */
  | { readonly kind: "login-not-believed" };

/** Whether who has logged in at the proxy has logged in here. */
export type BelievedLogin = "login-believed" | "login-not-believed";

const withoutLogin = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "DESTADDR", "DESTPORT"];
const attributes: ReadonlySet<string> = new Set([...withoutLogin, "LOGIN"]);

/** What EHLO offers. */
export function xclientExtension(login: BelievedLogin): string {
  const offered = login === "login-believed" ? [...attributes] : withoutLogin;
  return `XCLIENT ${offered.join(" ")}`;
}

/**
 * Reads the argument. Other than with Postfix, ADDR has to be there: without it the client would pass for the proxy, and have
 * whatever its address may do. NAME is read and left: whoever wants names of addresses asks DNS.
 */
export function readXclient(argument: string, login: BelievedLogin): ReadXclient {
  const said = readAttributes(argument);
  if (!said) return malformed;
  const address = said.get("ADDR");
  const port = readPort(said.get("PORT"));
  const to = said.get("DESTADDR");
  const toPort = readPort(said.get("DESTPORT"));
  const helo = said.get("HELO");
  const protocol = said.get("PROTO")?.toUpperCase();
  const user = said.get("LOGIN");
  const [source, destination] = [address && readAddress(address), to && readAddress(to)];
  const isRight = said.has("ADDR") && (address === undefined || source !== undefined) &&
    (to === undefined || destination !== undefined) && port !== undefined && toPort !== undefined &&
    (helo === undefined || readHello(helo).kind === "read") &&
    (protocol === undefined || protocol === "SMTP" || protocol === "ESMTP") && user !== "";
  if (!isRight) return malformed;
  if (user !== undefined && login === "login-not-believed") return { kind: "login-not-believed" };
  return {
    kind: "client",
    client: {
      address: source,
      port: source === undefined ? 0 : port,
      helo,
      protocol,
      login: user,
      destination: destination === undefined ? undefined : { address: destination, port: toPort },
    },
  };
}

const malformed: ReadXclient = { kind: "malformed" };

/** Attribute in upper case → value, decoded; `undefined` where nobody knows it, for a while or for good. */
function readAttributes(argument: string): Map<string, string | undefined> | undefined {
  const found = new Map<string, string | undefined>();
  for (const word of argument.split(/ +/)) {
    const [, name, value] = /^([A-Za-z]+)=(.+)$/.exec(word) ?? [];
    const attribute = name?.toUpperCase();
    if (attribute === undefined || value === undefined) return undefined;
    if (!attributes.has(attribute) || found.has(attribute)) return undefined;
    const isUnknown = /^\[(?:UNAVAILABLE|TEMPUNAVAIL)\]$/i.test(value);
    const text = isUnknown ? undefined : decodeXtext(value);
    if (!isUnknown && text === undefined) return undefined;
    found.set(attribute, text);
  }
  return found;
}

/** IPv6 stands behind `IPV6:`; some leave that out. */
function readAddress(text: string): string | undefined {
  const isSix = text.replace(/^IPV6:/i, "").includes(":");
  const literal = parseDomain(isSix ? `[IPv6:${text.replace(/^IPV6:/i, "")}]` : `[${text}]`);
  return literal?.replace(/^\[(?:ipv6:)?|\]$/g, "");
}

function readPort(text: string | undefined): number | undefined {
  if (text === undefined) return 0;
  return /^(?:0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= 65_535 ? Number(text) : undefined;
}
