/**
 * Who somebody else's client is, told to a server that believes us: XCLIENT (the server treats the session as that client's own) and
 * XFORWARD (it only logs it), as Postfix defines them (XCLIENT_README, XFORWARD_README). Nothing here lets a CR or LF through.
 */
import { encodeXtext } from "./params.ts";

/** A client on whose behalf mail is passed on. */
export interface ClientIdentity {
  /** Its IP address; anything else counts as unknown. */
  readonly address: string;
  readonly port: number;
  /** The name in EHLO or HELO, as given. */
  readonly helo: string | undefined;
  readonly protocol: "SMTP" | "ESMTP";
  /** Who logged in. */
  readonly login: string | undefined;
  /** Our id of the message. */
  readonly id: string;
}

type Attribute = "NAME" | "ADDR" | "PORT" | "PROTO" | "HELO" | "LOGIN" | "IDENT" | "SOURCE";

/** What stands for what nobody knows. */
const unknown = "[UNAVAILABLE]";
/** Octets of one command line, CRLF aside (XFORWARD_README: "limited to 512 characters", as RFC 5321 §4.5.3.1.4). */
const longestLine = 510;
/** Octets of one attribute: servers cut or refuse what is longer. */
const longestValue = 255;

function valueOf(attribute: Attribute, client: ClientIdentity): string | undefined {
  switch (attribute) {
    case "NAME":
      return undefined; // nobody has looked it up here: the server knows best whose DNS it believes
    case "ADDR":
      return /^[0-9.]+$/.test(client.address)
        ? client.address
        : /^[0-9A-Fa-f:.]+$/.test(client.address)
        ? `IPV6:${client.address}`
        : undefined;
    case "PORT":
      return client.port > 0 ? String(client.port) : undefined;
    case "PROTO":
      return client.protocol;
    case "HELO":
      return client.helo;
    case "LOGIN":
      return client.login;
    case "IDENT":
      return client.id;
    case "SOURCE":
      return "REMOTE";
  }
}

function attributesOf(
  wanted: readonly Attribute[],
  client: ClientIdentity,
  offered: ReadonlySet<string>,
): string[] {
  return wanted.filter((attribute) => offered.has(attribute)).map((attribute) => {
    const value = valueOf(attribute, client);
    const encoded = value === undefined || value === "" ? unknown : encodeXtext(value);
    return `${attribute}=${encoded.length > longestValue ? unknown : encoded}`;
  });
}

/**
 * The command, with all attributes that the server knows, also those that nothing is known of: else a client before would lend its
 * own. `undefined` where it offers none.
 *
 * @param offered The attributes that stood behind XCLIENT in the reply to EHLO.
 */
export function xclientCommand(client: ClientIdentity, offered: ReadonlySet<string>): string | undefined {
  const attributes = attributesOf(["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN"], client, offered);
  return attributes.length === 0 ? undefined : `XCLIENT ${attributes.join(" ")}\r\n`;
}

/** The commands likewise: as many lines as it takes. */
export function xforwardCommands(client: ClientIdentity, offered: ReadonlySet<string>): string[] {
  const lines: string[] = [];
  let line = "XFORWARD";
  const wanted = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"] as const;
  for (const attribute of attributesOf(wanted, client, offered)) {
    if (line.length + 1 + attribute.length > longestLine) {
      lines.push(`${line}\r\n`);
      line = "XFORWARD";
    }
    line += ` ${attribute}`;
  }
  return line === "XFORWARD" ? lines : [...lines, `${line}\r\n`];
}
