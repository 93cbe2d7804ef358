/**
 * The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt, 2020): what a proxy says of its client in front of the
 * client's first octet. Pure; a receiver must never guess whether a header is there (§2), so who calls this knows that one is.
 */
import ipaddr from "ipaddr.js";
import { ipv4Number } from "../ipv4.ts";

/** One end of the client's connection to the proxy; the address is canonical, an IPv4-mapped one IPv4. */
export interface ProxiedEnd {
  readonly address: string;
  readonly port: number;
}

/** What the octets so far are. */
export type ProxyHeader =
  | { readonly kind: "incomplete" }
  /** No header, or a malformed one; `why` is for the log. */
  | { readonly kind: "bad"; readonly why: string }
  /** A whole header of `length` octets: the connection is this client's. */
  | {
    readonly kind: "client";
    readonly length: number;
    readonly source: ProxiedEnd;
    readonly destination: ProxiedEnd;
    readonly checksum: Checksum | undefined;
  }
  /** A whole header that names nobody (LOCAL, UNKNOWN, another family): the connection is the proxy's own. */
  | { readonly kind: "own"; readonly length: number; readonly checksum: Checksum | undefined };

/** A CRC32c that the header holds (§2.2.3): `said` must be that of `over`, the header with zeros in its place. */
export interface Checksum {
  readonly said: number;
  readonly over: Uint8Array;
}

/** §2.1: the longest line of version 1, its CRLF included. */
const longestLine = 107;
/** Octets of a header of version 2. The protocol's own bound is 64 KiB; with a client certificate among its TLVs it takes some KiB. */
const longestHeader = 16 * 1024;

const signature = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
const word = new TextEncoder().encode("PROXY ");
const fixedPart = 16;
const crc32cType = 0x03;

/**
 * Reads a header from the beginning of a connection.
 *
 * @param bytes All octets so far; those behind the header are not looked at.
 */
export function parseProxyHeader(bytes: Uint8Array): ProxyHeader {
  if (startsAlike(bytes, signature)) return bytes.length < fixedPart ? incomplete : binary(bytes);
  if (startsAlike(bytes, word)) return line(bytes);
  return bad("the connection does not begin with a PROXY header");
}

const incomplete: ProxyHeader = { kind: "incomplete" };
const bad = (why: string): ProxyHeader => ({ kind: "bad", why });

/** Whether both are the same as far as both go. */
function startsAlike(bytes: Uint8Array, start: Uint8Array): boolean {
  for (let i = 0; i < Math.min(bytes.length, start.length); i++) if (bytes[i] !== start[i]) return false;
  return true;
}

// ── Version 1: a line of text ──────────────────────────────────────────────────────────────────────

function line(bytes: Uint8Array): ProxyHeader {
  const window = bytes.subarray(0, longestLine);
  const end = window.indexOf(0x0a);
  if (end < 0) return bytes.length < longestLine ? incomplete : bad("the PROXY line is too long");
  if (window[end - 1] !== 0x0d) return bad("the PROXY line does not end with CRLF");
  const length = end + 1;
  const text = String.fromCharCode(...window.subarray(0, end - 1));
  // §2.1: whatever follows UNKNOWN is to be ignored.
  if (/^PROXY UNKNOWN(?: |$)/.test(text)) return { kind: "own", length, checksum: undefined };
  const [, family, from, to, fromPort, toPort] =
    /^PROXY (TCP[46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})$/.exec(
      text,
    ) ?? [];
  if (family === undefined) return bad("the PROXY line is malformed");
  const [source, destination] = [proxiedEnd(family, from!, fromPort!), proxiedEnd(family, to!, toPort!)];
  if (!source || !destination) return bad("the PROXY line names no valid address and port");
  return { kind: "client", length, source, destination, checksum: undefined };
}

function proxiedEnd(family: string, address: string, digits: string): ProxiedEnd | undefined {
  const port = Number(digits);
  if (port > 65_535) return undefined;
  if (family === "TCP4") return ipv4Number(address) === undefined ? undefined : { address, port };
  if (!ipaddr.IPv6.isValid(address)) return undefined;
  return { address: ipaddr.process(address).toString(), port };
}

// ── Version 2: binary ──────────────────────────────────────────────────────────────────────────────

/** Octets of one address, by family; UNSPEC has none, and those of Unix sockets are two paths. */
const families = new Map([[0x0, 0], [0x1, 4], [0x2, 16], [0x3, 108]]);

function binary(bytes: Uint8Array): ProxyHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [version, command] = [bytes[12]! >> 4, bytes[12]! & 0xf];
  const [family, protocol] = [bytes[13]! >> 4, bytes[13]! & 0xf];
  if (version !== 2) return bad(`version ${version} of the PROXY header is not known`);
  if (command > 1) return bad("the command of the PROXY header is not known");
  const octets = families.get(family);
  if (octets === undefined || protocol > 2) return bad("the family of the PROXY header is not known");
  const length = fixedPart + view.getUint16(14);
  if (length > longestHeader) return bad("the PROXY header is too long");
  if (bytes.length < length) return incomplete;
  const header = bytes.subarray(0, length);

  // §2.2: LOCAL is the proxy's own connection, whatever addresses it holds.
  if (command === 0) return { kind: "own", length, checksum: undefined };
  const isInternet = octets === 4 || octets === 16;
  if (isInternet && protocol !== 1) return bad("the PROXY header tells of a client that does not speak TCP");
  const tlvs = fixedPart + 2 * octets + (isInternet ? 4 : 0);
  if (tlvs > length) return bad("the PROXY header is too short");
  const checksum = findChecksum(header, view, tlvs);
  if (checksum === "malformed") return bad("a TLV of the PROXY header is malformed");
  // A client without an address; §2.2 leaves it to us whether the proxy's own is taken, as version 1 has it for UNKNOWN.
  if (!isInternet) return { kind: "own", length, checksum };
  const canonical = (place: number) =>
    ipaddr.process(ipaddr.fromByteArray([...header.subarray(place, place + octets)]).toString()).toString();
  return {
    kind: "client",
    length,
    source: { address: canonical(fixedPart), port: view.getUint16(fixedPart + 2 * octets) },
    destination: { address: canonical(fixedPart + octets), port: view.getUint16(fixedPart + 2 * octets + 2) },
    checksum,
  };
}

/** Goes through the TLVs, which are skipped but for one. */
function findChecksum(header: Uint8Array, view: DataView, begin: number): Checksum | "malformed" | undefined {
  let found: Checksum | undefined;
  for (let at = begin; at < header.length;) {
    if (at + 3 > header.length) return "malformed";
    const size = view.getUint16(at + 1);
    const value = at + 3;
    if (value + size > header.length) return "malformed";
    if (header[at] === crc32cType) {
      if (size !== 4 || found) return "malformed";
      const over = header.slice();
      over.fill(0, value, value + 4);
      found = { said: view.getUint32(value), over };
    }
    at = value + size;
  }
  return found;
}
