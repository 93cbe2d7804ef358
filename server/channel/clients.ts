/**
 * Clients that show a certificate: who they are, and whether an authority that is trusted says so.
 *
 * The runtime asks for it and checks that the client has its key, unless it can't read the certificate; its own word on who issued it is
 * not enough (`x509/certificate.ts`). So nothing counts here that wasn't read strictly, and trust takes both their words.
 */
import { createHash, X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { follow } from "./x509/chain.ts";
import { type Certificate, extensionIds } from "./x509/certificate.ts";
import { DerReader, tags } from "./x509/der.ts";
import { shownBy } from "./x509/shown.ts";

/** A client's certificate. Whoever shows it has its key. */
export interface ClientCertificate {
  /** SHA-256 of the certificate, as 64 hexadecimal digits in lower case. */
  readonly fingerprint: string;
  /** Its subject, such as `O=Example, CN=printer`: for people. */
  readonly subject: string;
  /** The DNS names and mail addresses it is for, lower case. */
  readonly names: readonly string[];
  /** Whether an authority of the listener has issued it; names mean nothing where none has. */
  readonly trust: "trusted" | "expired" | "untrusted";
}

/** Whose certificates a listener takes. */
export interface ClientAuthorities {
  /** As PEM. */
  readonly pem: readonly string[];
  /** `required`: without a certificate of theirs there is no connection. */
  readonly certificate: "required" | "optional";
}

/**
 * Reads a file of authorities' certificates.
 *
 * @throws {Error} that names the file and what is wrong with it.
 */
export async function loadAuthorities(path: string): Promise<readonly string[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    const missing = error instanceof Deno.errors.NotFound;
    const why = missing ? "does not exist" : `can't be read: ${(error as Error).message}`;
    throw new Error(`the file of authorities ${path} ${why}`);
  }
  const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) throw new Error(`${path} holds no certificate in PEM form`);
  for (const [i, pem] of found.entries()) {
    try {
      new X509Certificate(pem);
    } catch (error) {
      throw new Error(`certificate ${i + 1} of ${path} can't be read: ${(error as Error).message}`);
    }
  }
  return found;
}

/** Reads what a client has shown; `undefined`: nothing, or nothing that can be read. @param now Milliseconds since 1970. */
export function clientOf(
  encrypted: TLSSocket,
  authorities: readonly X509Certificate[],
  now: number,
): ClientCertificate | undefined {
  const shown = shownBy(encrypted);
  if (!shown) return undefined;
  const { leaf, sent } = shown;
  const isValid = ({ validFrom, validTo }: X509Certificate) =>
    Date.parse(validFrom) <= now && now <= Date.parse(validTo);
  const issuersOf = (certificate: Certificate) =>
    authorities.filter((one) => one.subject === certificate.x509.issuer && isValid(one));
  const led = follow(leaf, sent, { issuersOf }, now, "client");
  return {
    fingerprint: createHash("sha256").update(leaf.der).digest("hex"),
    subject: leaf.x509.subject.split("\n").join(", ").replace(/\p{C}/gu, "?"),
    names: namesOf(leaf),
    trust: led === "trusted" && !encrypted.authorized ? "untrusted" : led,
  };
}

/** rfc822Name and dNSName of subjectAltName (RFC 5280 §4.2.1.6). */
const [mail, dns] = [0x81, 0x82];

function namesOf({ extensions }: Certificate): string[] {
  const names: string[] = [];
  const extension = extensions.get(extensionIds.subjectAltName);
  if (!extension) return names;
  try {
    const list = new DerReader(new DerReader(extension.value).read(tags.sequence));
    while (!list.atEnd) {
      const tag = list.tag;
      const text = String.fromCharCode(...list.read(tag));
      if ((tag === mail || tag === dns) && /^[!-~]+$/.test(text)) names.push(text.toLowerCase());
    }
    return names;
  } catch {
    return []; // broken: it is for nobody
  }
}
