/**
 * The server's own certificates: read, checked, chosen by server name (SNI), and read again while the server runs.
 */
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { dirname } from "node:path";
import { createSecureContext, type SecureContext, type TlsOptions } from "node:tls";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { readCertificate } from "./x509/certificate.ts";

/** One entry of the configuration's `tls:`. */
export interface CertificateEntry {
  /** Absolute path of the PEM file: the certificate, then the chain. */
  readonly cert: string;
  /** Absolute path of its private key, PEM, without a passphrase. */
  readonly key: string;
  /** Server names it is for; absent: those it says itself. `*.example.org` stands for one label. */
  readonly names?: readonly string[] | undefined;
}

/** The certificates in force. */
export interface Certificates {
  /** For `tls.createServer`: a new object after each reload that changed something. */
  readonly options: TlsOptions;
  /** The same, asking clients for certificates of these authorities (PEM). */
  withAuthorities(pem: readonly string[]): TlsOptions;
  /** What a login can be bound to where the certificate for this server name was shown; as of this moment. */
  readonly endPoints: (serverName: string | undefined) => Uint8Array | undefined;
  /**
   * Reads all files again, and takes them all or none.
   *
   * @throws {Error} that names the file and what is wrong; the old certificates stay.
   */
  reload(): Promise<void>;
  /**
   * Reloads when the files change, until the returned function is called.
   *
   * @param onReloaded Called after the change is in force.
   * @param onFailed Called when the new files can't be used: the old certificates stay.
   */
  watch(onReloaded: () => void, onFailed: (error: Error) => void): () => void;
}

interface Loaded {
  readonly names: readonly string[];
  readonly cert: string;
  readonly key: string;
  readonly endPoint: Uint8Array | undefined;
}

/** Editors, `cp` and ACME clients write two files in several steps: look only when they had time to finish. */
const settleMs = 1000;

/**
 * Reads certificates and keys. The first is shown to clients that ask for a name nobody has, or for none.
 *
 * @param entries At least one.
 * @throws {Error} that names the file and what is wrong with it.
 */
export async function loadCertificates(
  entries: readonly CertificateEntry[],
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Promise<Certificates> {
  let loaded = await readAll(entries, clock, log);
  let options = serverOptions(loaded);

  async function reload(): Promise<"changed" | "same"> {
    const next = await readAll(entries, clock, log);
    if (next.every((one, index) => one.cert === loaded[index]?.cert && one.key === loaded[index]?.key)) {
      return "same";
    }
    options = serverOptions(next);
    loaded = next;
    return "changed";
  }

  return {
    get options() {
      return options;
    },
    withAuthorities: (pem) => serverOptions(loaded, pem),
    get endPoints() {
      const current = loaded;
      return (serverName: string | undefined) =>
        current[serverName === undefined ? 0 : choose(current, serverName)]?.endPoint;
    },
    async reload() {
      await reload();
    },
    watch(onReloaded, onFailed) {
      return watchFolders(entries, clock, async () => {
        try {
          if (await reload() === "changed") onReloaded();
        } catch (error) {
          onFailed(error as Error);
        }
      });
    },
  };
}

async function readAll(
  entries: readonly CertificateEntry[],
  clock: Clock,
  log: Log,
): Promise<readonly Loaded[]> {
  return await Promise.all(entries.map(async (entry) => {
    const [cert, key] = await Promise.all([
      readText(entry.cert, "certificate"),
      readText(entry.key, "private key"),
    ]);
    const certificate = parse(entry.cert, "certificate", () => new X509Certificate(cert));
    const privateKey = parse(entry.key, "private key", () => createPrivateKey(key));
    // createSecureContext takes any two files; each handshake would then fail.
    if (!certificate.checkPrivateKey(privateKey)) {
      throw new Error(`the private key ${entry.key} does not belong to the certificate ${entry.cert}`);
    }
    const until = Date.parse(certificate.validTo);
    if (until < clock.now()) {
      log.warning("certificate has expired: clients that check it will refuse it", {
        file: entry.cert,
        until: new Date(until).toISOString(),
      });
    }
    const endPoint = serverEndPoint(certificate.raw);
    return {
      cert,
      key,
      endPoint,
      names: (entry.names ?? ownNames(certificate)).map((name) => name.toLowerCase()),
    };
  }));
}

/** Hashes by the OID of a signature's algorithm, in hexadecimal; where that is weak, SHA-256 (RFC 5929 §4.1). */
const hashes: ReadonlyMap<string, string> = new Map([
  ["2a864886f70d010104", "sha256"], // RSA with MD5
  ["2a864886f70d010105", "sha256"], // RSA with SHA-1
  ["2a864886f70d01010b", "sha256"],
  ["2a864886f70d01010c", "sha384"],
  ["2a864886f70d01010d", "sha512"],
  ["2a8648ce3d0401", "sha256"], // ECDSA with SHA-1
  ["2a8648ce3d040302", "sha256"],
  ["2a8648ce3d040303", "sha384"],
  ["2a8648ce3d040304", "sha512"],
]);

/** `tls-server-end-point` (RFC 5929 §4): undefined for signatures with no hash of their own, as Ed25519's, and with a choice of them. */
export function serverEndPoint(certificate: Uint8Array): Uint8Array | undefined {
  const hash = hashes.get(readCertificate(certificate)?.algorithm ?? "");
  return hash === undefined ? undefined : createHash(hash).update(certificate).digest();
}

async function readText(path: string, what: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Error(`the ${what} ${path} does not exist`);
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new Error(`the ${what} ${path} can't be read: this user has no permission`);
    }
    throw new Error(`the ${what} ${path} can't be read: ${(error as Error).message}`);
  }
}

function parse<T>(path: string, what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Error(`${path} is no ${what} in PEM form: ${(error as Error).message}`);
  }
}

function ownNames(certificate: X509Certificate): string[] {
  const alternative = certificate.subjectAltName ?? "";
  return [...alternative.matchAll(/DNS:([^,\s"]+)/g)].map((found) => found[1]!);
}

function serverOptions(loaded: readonly Loaded[], authorities?: readonly string[]): TlsOptions {
  const { cert, key } = loaded[0]!;
  const ca = authorities && { ca: [...authorities] };
  const options: TlsOptions = { cert, key, minVersion: "TLSv1.2", ...ca };
  // With a callback the runtime builds its TLS configuration anew for each handshake, and no session is resumed.
  if (loaded.length === 1) return options;
  const contexts = loaded.map((one) =>
    createSecureContext({ cert: one.cert, key: one.key, minVersion: "TLSv1.2", ...ca })
  );
  return {
    ...options,
    SNICallback(serverName, answer) {
      const context: SecureContext | undefined = contexts[choose(loaded, serverName)];
      answer(null, context);
    },
  };
}

/** The index of the certificate for a server name: by its exact name, else by a wildcard, else the first. */
export function choose(
  certificates: readonly { readonly names: readonly string[] }[],
  serverName: string,
): number {
  const wanted = serverName.toLowerCase();
  const exact = certificates.findIndex(({ names }) => names.includes(wanted));
  if (exact >= 0) return exact;
  const dot = wanted.indexOf(".");
  const wildcard = dot > 0
    ? certificates.findIndex(({ names }) => names.includes(`*${wanted.slice(dot)}`))
    : -1;
  return Math.max(wildcard, 0);
}

/**
 * Calls back after something changed in the folders of the files. The folders, because ACME clients and container
 * platforms put new files, or links, in the place of the old; a watch on the file would stay with the old one.
 */
function watchFolders(
  entries: readonly CertificateEntry[],
  clock: Clock,
  changed: () => Promise<void>,
): () => void {
  const folders = [...new Set(entries.flatMap(({ cert, key }) => [dirname(cert), dirname(key)]))];
  const watcher = Deno.watchFs(folders, { recursive: false });
  let cancel: (() => void) | undefined;
  let running = Promise.resolve();
  (async () => {
    for await (const event of watcher) {
      // Reading them is an event as well.
      if (event.kind === "access") continue;
      cancel ??= clock.after(settleMs, () => {
        cancel = undefined;
        running = running.then(changed); // one after another: an older reading must not win
      });
    }
  })();
  return () => {
    cancel?.();
    watcher.close();
  };
}
