/** Who a listed proxy's connection belongs to: reads the PROXY header that must stand in front of all else, TLS included. */
import { crc32 } from "hash-wasm";
import { type Channel, ChannelLost } from "../channel/channel.ts";
import { parseProxyHeader, type ProxyHeader } from "./proxy_protocol.ts";

/** What a proxy's connection has turned out to be. */
export type Introduction =
  | { readonly kind: "client"; readonly address: string; readonly port: number }
  /** The proxy's own, a health check for instance. */
  | { readonly kind: "own" }
  | { readonly kind: "bad"; readonly why: string };

/** The Castagnoli polynomial, reversed: CRC32c. */
const castagnoli = 0x82f63b78;

/**
 * Reads the header and puts what came behind it back; from then on the channel's `remote` is the client.
 *
 * @throws {ChannelLost} when the connection was lost or closed meanwhile.
 */
export async function introduce(channel: Channel): Promise<Introduction> {
  let bytes = new Uint8Array(0);
  let header: ProxyHeader = { kind: "incomplete" };
  while (header.kind === "incomplete") {
    const more = await channel.read();
    if (!more) throw new ChannelLost("closed before the end of its PROXY header"); // as plain health checks do
    const joined = new Uint8Array(bytes.length + more.length);
    joined.set(bytes);
    joined.set(more, bytes.length);
    bytes = joined;
    header = parseProxyHeader(bytes);
  }
  if (header.kind === "bad") return header;
  const { checksum } = header;
  if (checksum && parseInt(await crc32(checksum.over, castagnoli), 16) !== checksum.said) {
    return { kind: "bad", why: "the checksum of the PROXY header is wrong" };
  }
  channel.putBack(bytes.subarray(header.length));
  if (header.kind === "own") return { kind: "own" };
  channel.speakFor({ remote: header.source, local: header.destination });
  return { kind: "client", ...header.source };
}
