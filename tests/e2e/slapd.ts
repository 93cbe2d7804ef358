/** OpenLDAP's slapd, a real LDAP server, with a test's people. */
import type { CertificateFiles } from "./certificate.ts";
import type { Folder } from "./folder.ts";
import { end, freePort, untilListening } from "./ports.ts";
import { run, spawn } from "./programs.ts";

/** Who may read, in `dc=example,dc=test`. */
export const reader = { dn: "cn=mail,dc=example,dc=test", password: "read-0nly" };

/** The ports it will listen on. */
export interface LdapPorts {
  readonly ldap: number;
  readonly ldaps: number;
}

/** Draws them. */
export const drawLdapPorts = (): LdapPorts => ({ ldap: freePort(), ldaps: freePort() });

/** Writes its configuration and its people, each an address; nobody but `reader` may read them. */
export async function prepareSlapd(
  folder: Folder,
  { cert, key }: CertificateFiles,
  people: readonly string[],
): Promise<string> {
  const data = folder.at("slapd");
  await Deno.mkdir(data);
  const schemas = ["core", "cosine", "inetorgperson"].map((name) =>
    `include /etc/ldap/schema/${name}.schema`
  );
  const config = await folder.write(
    "slapd.conf",
    `${schemas.join("\n")}
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile ${data}/pid
TLSCertificateFile ${cert}
TLSCertificateKeyFile ${key}
database mdb
suffix dc=example,dc=test
rootdn cn=root,dc=example,dc=test
directory ${data}
access to attrs=userPassword by anonymous auth
access to * by dn.exact="${reader.dn}" read by anonymous auth
`,
  );
  const entries = [
    "dn: dc=example,dc=test\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n",
    `dn: ${reader.dn}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: mail\nuserPassword: ${reader.password}\n`,
    ...people.map((address, at) =>
      `dn: uid=u${at},dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: u${at}\ncn: x\nsn: x\nmail: ${address}\n`
    ),
  ];
  const { code, stderr } = await run("/usr/sbin/slapadd", ["-f", config], { stdin: entries.join("\n") });
  if (code !== 0) throw new Error(`slapadd: ${stderr}`);
  return config;
}

/** Starts it. */
export async function startSlapd(config: string, { ldap, ldaps }: LdapPorts): Promise<AsyncDisposable> {
  const where = `ldap://127.0.0.1:${ldap}/ ldaps://127.0.0.1:${ldaps}/`;
  const child = spawn("/usr/sbin/slapd", ["-f", config, "-h", where, "-d", "0"], {
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  for (const port of [ldap, ldaps]) await untilListening(child, "slapd", port);
  return { [Symbol.asyncDispose]: () => end(child) };
}
