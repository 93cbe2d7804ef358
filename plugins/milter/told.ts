/** What filters are told of a session and its transaction besides the commands: the macros that Sendmail gave its names to. */
import type { Recipient, Session, Transaction } from "../../server/plugin.ts";
import type { Macros } from "./commands.ts";

/** Who is there, as a filter hears it. */
export interface Client {
  /** Its name where that leads back to its address; else the address in brackets. */
  readonly host: string;
  readonly address: string;
  readonly port: number;
}

/** What a conversation is told beside each command. */
export interface Telling {
  readonly hostname: string;
  readonly name: string;
  /** The operator's own, told at the connection. */
  readonly extra: Readonly<Record<string, string>>;
}

/** At the connection. */
export function ofConnection({ hostname, name, extra }: Telling, session: Session, client: Client): Macros {
  const own = Object.entries(extra);
  const names = new Set(own.map(([macro]) => macro));
  const usual: Macros = [
    ["j", hostname],
    ["v", name],
    // What Sendmail calls its listeners: filters tell by it whose mail they sign.
    ["{daemon_name}", session.role === "submission" ? "MSA" : "MTA"],
    ["{client_name}", client.host],
    ["{client_addr}", client.address],
    ["{client_port}", String(client.port)],
  ];
  return [...usual.filter(([macro]) => !names.has(macro)), ...own];
}

/** At HELO. */
export const ofHelo = (
  { tls }: Session,
): Macros => [["{tls_version}", tls?.version], ["{cipher}", tls?.cipher]];

/** At MAIL: filters take mail of whoever has logged in for our own. */
export function ofSender({ user }: Session, { id, sender }: Transaction): Macros {
  return [
    ["i", id],
    ["{mail_addr}", sender.address],
    ["{mail_host}", sender.domain],
    // Which mechanism it was isn't known here, and nobody looks at more than whether there is one.
    ["{auth_type}", user && "LOGIN"],
    ["{auth_authen}", user?.name],
    ["{auth_author}", user?.name],
  ];
}

/** At RCPT. */
export const ofRecipient = ({ address, domain }: Recipient): Macros => [
  ["{rcpt_addr}", address],
  ["{rcpt_host}", domain],
];

/** At DATA, at the end of the header and at the end of the message. */
export const ofMessage = ({ id }: Transaction): Macros => [["i", id]];
