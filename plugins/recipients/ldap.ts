/** Looking addresses up in an LDAP directory (RFC 4511), on one connection that is kept. */
import net, { isIP } from "node:net";
import tls from "node:tls";
import { Client, Filter, FilterParser } from "ldapts";
import { path, z } from "../../server/plugin.ts";
import { type Name, patience, type Source } from "../directory/directory.ts";
import { asksAbout, fill } from "../directory/template.ts";

const escape = (value: string) => Filter.escape(value);

const filter = z.string().superRefine((text, context) => {
  const problem = (message: string) => context.addIssue({ code: "custom", message });
  if (!asksAbout(text)) problem("asks about no address: put {address} into it, or {local} and {domain}");
  try {
    FilterParser.parseString(fill(text, { local: "x", domain: "example.org" }, escape));
  } catch (error) {
    problem(`is no filter such as (mail={address}): ${(error as Error).message}`);
  }
});

const line = z.string().min(1).refine((text) => !/[\0\r\n]/.test(text), "must be one line");

const bind = z.strictObject({
  dn: line.describe("who asks, such as cn=mail,dc=example,dc=org"),
  password: line.optional().describe('its password; better "${env:NAME}" or passwordFile'),
  passwordFile: path().optional().describe(
    "a file that holds its password on one line; read at each connection",
  ),
}).superRefine(({ password, passwordFile }, context) => {
  if ((password === undefined) === (passwordFile === undefined)) {
    // RFC 4513 §5.1.2: a name without a password asks as nobody, and may find nobody.
    context.addIssue({ code: "custom", message: 'needs a "password" or a "passwordFile", one of them' });
  }
});

/** The option `ldap`. */
export const ldapOption = z.object({
  url: z.string().regex(/^ldaps?:\/\/(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\/?$/, {
    message: "is not a URL such as ldaps://ldap.example.org",
  }).describe("The server: `ldaps://` is TLS, `ldap://` is not"),
  startTls: z.boolean().default(false).describe("Begins TLS on an `ldap://` connection, or asks nothing"),
  ca: path().optional().describe("PEM file of authorities that are trusted with the server's certificate"),
  bind: bind.optional().describe("How to log in: `dn`, and `password` or `passwordFile`; default: as nobody"),
  base: z.string().describe("Below which entry is looked, such as `ou=people,dc=example,dc=org`"),
  scope: z.enum(["sub", "one", "base"]).default("sub").describe("How far below"),
  filter: filter.default("(mail={address})").describe(
    "Which entries count, with `{address}`, `{local}`, `{domain}` in it, lower case, escaped",
  ),
  timeout: patience,
}).superRefine(({ url, startTls, ca, bind }, context) => {
  const problem = (message: string, key: string) =>
    context.addIssue({ code: "custom", message, path: [key] });
  const isTls = url.startsWith("ldaps:");
  if (isTls && startTls) problem("is for ldap:// only: ldaps:// is TLS from the first byte", "startTls");
  if (ca !== undefined && !isTls && !startTls) problem("is for TLS: use ldaps:// or startTls", "ca");
  const isHere = /^ldap:\/\/(?:127\.[0-9.]+|\[::1\]|localhost)(?:[:/]|$)/.test(url);
  if (bind && !isTls && !startTls && !isHere) {
    problem("would send its password in the clear: use ldaps:// or startTls", "bind");
  }
});

/** The option, read. */
export type LdapHow = z.output<typeof ldapOption>;

/** Opens nothing yet: the first question does. */
export function openLdap(how: LdapHow): Source {
  const { url, base, scope, filter, timeout } = how;
  let kept: Promise<Connection> | undefined;
  const close = () => {
    const closing = kept;
    kept = undefined;
    closing?.then(({ client }) => client.unbind()).catch(() => {}); // it is over either way
  };
  const search = async (name: Name, connection: Promise<Connection>) => {
    const { client, isOver } = await connection;
    // The library would connect anew by itself, in the clear and as nobody: and then there is nobody to be found.
    if (isOver() || !client.isConnected) throw new Error("the connection was closed");
    const { searchEntries } = await client.search(base, {
      scope,
      filter: FilterParser.parseString(fill(filter, name, escape)),
      attributes: ["1.1"],
      timeLimit: Math.ceil(timeout / 1000),
    });
    return searchEntries.length > 0 ? searchEntries.map(({ dn }) => dn) : undefined;
  };
  const find = async (name: Name, signal: AbortSignal) => {
    const before = kept;
    if (before) {
      try {
        return await search(name, before);
      } catch (error) {
        if (signal.aborted) throw error;
        if (kept === before) close(); // servers close what is idle: once more on another
      }
    }
    return await search(name, kept ??= connect(how));
  };
  return {
    about: `ldap: ${url}`,
    identity: `ldap ${url} ${base} ${scope} ${filter}`,
    timeout,
    async look(name, signal) {
      signal.addEventListener("abort", close, { once: true });
      try {
        return await find(name, signal);
      } catch (error) {
        close();
        throw new Error(`ldap: ${url}: ${(error as Error).message}`);
      } finally {
        signal.removeEventListener("abort", close);
      }
    },
    close,
  };
}

interface Connection {
  readonly client: Client;
  /** Said by the socket: the library doesn't see the end of one that StartTLS was begun on. */
  readonly isOver: () => boolean;
}

/** A connection that is encrypted and logged in, as the option asks for. */
async function connect({ url, startTls, ca, bind, timeout }: LdapHow): Promise<Connection> {
  const { hostname, protocol } = new URL(url);
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  const security: tls.ConnectionOptions = {
    host,
    ...isIP(host) ? {} : { servername: host },
    ...ca !== undefined && { ca: await Deno.readTextFile(ca) },
  };
  let isOver = false;
  const watched = <S extends net.Socket>(socket: S): S => socket.once("close", () => isOver = true);
  const client = new Client({
    url,
    connectTimeout: timeout,
    timeout,
    createConnection: ((port: number, host: string) =>
      watched(net.connect(port, host))) as typeof net.connect,
    createSecureConnection: ((...how: Parameters<typeof tls.connect>) =>
      watched(tls.connect(...how))) as typeof tls.connect,
    ...protocol === "ldaps:" && { tlsOptions: security },
  });
  try {
    if (startTls) await client.startTLS(security);
    if (bind) await client.bind(bind.dn, await passwordOf(bind));
    else if (!client.isConnected) await client.bind("", ""); // RFC 4513 §5.1.1: as nobody
    return { client, isOver: () => isOver };
  } catch (error) {
    await client.unbind().catch(() => {});
    throw error;
  }
}

async function passwordOf({ password, passwordFile }: NonNullable<LdapHow["bind"]>): Promise<string> {
  const text = password ?? (await Deno.readTextFile(passwordFile!)).replace(/\r?\n$/, "");
  if (text === "" || /[\0\r\n]/.test(text)) {
    throw new Error(`${passwordFile} is not one line with a password`);
  }
  return text;
}
