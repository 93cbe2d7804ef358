/** The certificates of this folder, which `make.sh` makes. */
import { fileURLToPath } from "node:url";
import { X509Certificate } from "node:crypto";
import { ok } from "node:assert/strict";
import { type Certificate, readCertificate } from "../../../../server/channel/x509/certificate.ts";

/** The path of a file here. */
export const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** One certificate as DER. */
export function derOf(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new X509Certificate(Deno.readTextFileSync(fileOf(`${name}.pem`))).raw);
}

/** One certificate, read. */
export function certificateOf(name: string): Certificate {
  const certificate = readCertificate(derOf(name));
  ok(certificate, name);
  return certificate;
}
