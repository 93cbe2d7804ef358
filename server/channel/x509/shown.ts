/** The certificates that a peer has shown in its handshake. */
import { checkServerIdentity, type DetailedPeerCertificate, type TLSSocket } from "node:tls";
import { type Certificate, readCertificate } from "./certificate.ts";

/** More than this nobody sends. */
const mostCertificates = 10;

/** The certificates that a peer has sent; `undefined`: it sent none, or its own can't be read. */
export function shownBy(
  encrypted: TLSSocket,
): { leaf: Certificate; sent: readonly Certificate[]; isFor: (name: string) => boolean } | undefined {
  const first = encrypted.getPeerCertificate(true);
  const all: DetailedPeerCertificate[] = [];
  for (
    let one: DetailedPeerCertificate | undefined = first;
    one?.raw !== undefined && all.length < mostCertificates && !all.includes(one);
    one = one.issuerCertificate
  ) {
    all.push(one);
  }
  const [leaf, ...sent] = all.map(({ raw }) => readCertificate(new Uint8Array(raw)));
  if (leaf === undefined) return undefined;
  return {
    leaf,
    sent: sent.filter((one) => one !== undefined),
    isFor: (name) => checkServerIdentity(name, first) === undefined,
  };
}
