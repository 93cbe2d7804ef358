/** Certificates, made with openssl when a test needs one. */
import { isIP } from "node:net";
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
  await openssl(
    ...["req", "-x509", "-nodes", "-days", "2", "-newkey", ...algorithm],
    ...["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name},DNS:localhost,IP:127.0.0.1`],
    ...["-keyout", key, "-out", cert],
  );
  return { cert, key };
}

/** An authority of a test's own, whose word counts where it is trusted. */
export interface Authority {
  /** Its certificate, a PEM file. */
  readonly cert: string;
  /** A certificate for one name or IP address, or more names, signed by it. */
  certify(name: string, ...more: string[]): Promise<CertificateFiles>;
}

/** Makes one; its files are in the folder. */
export async function makeAuthority(folder: Folder): Promise<Authority> {
  const [cert, key] = [folder.at("authority.pem"), folder.at("authority.key")];
  const newKey = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
  await openssl(
    "req",
    "-x509",
    "-days",
    "2",
    ...newKey,
    "-subj",
    "/CN=authority",
    "-keyout",
    key,
    "-out",
    cert,
  );
  return {
    cert,
    async certify(name, ...more) {
      const made = { cert: folder.at(`${name}.pem`), key: folder.at(`${name}.key`) };
      const request = folder.at(`${name}.csr`);
      await openssl("req", ...newKey, "-subj", `/CN=${name}`, "-keyout", made.key, "-out", request);
      const names = await folder.write(
        `${name}.ext`,
        `subjectAltName=${[name, ...more].map((one) => `${isIP(one) ? "IP" : "DNS"}:${one}`).join()}\n`,
      );
      const signed = ["-CA", cert, "-CAkey", key, "-CAcreateserial", "-days", "2", "-extfile", names];
      await openssl("x509", "-req", "-in", request, ...signed, "-out", made.cert);
      return made;
    },
  };
}

async function openssl(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await run("openssl", args);
  if (code !== 0) throw new Error(stderr);
}
