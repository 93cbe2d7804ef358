/** Certificates, made with openssl when a test needs one. */
import { run } from "./programs.ts";
import type { Folder } from "./folder.ts";

/** PEM files. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** Makes a certificate that signs itself, for a name, `localhost` and 127.0.0.1; `cert.pem` and `key.pem` are replaced. */
export async function makeCertificate(
  folder: Folder,
  name: string,
  kind: "ec" | "rsa" = "ec",
): Promise<CertificateFiles> {
  const [cert, key] = [folder.at("cert.pem"), folder.at("key.pem")];
  const algorithm = kind === "ec" ? ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] : ["rsa:2048"];
  const made = await run("openssl", [
    ...["req", "-x509", "-nodes", "-days", "2", "-newkey", ...algorithm],
    ...["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name},DNS:localhost,IP:127.0.0.1`],
    ...["-keyout", key, "-out", cert],
  ]);
  if (made.code !== 0) throw new Error(made.stderr);
  return { cert, key };
}
