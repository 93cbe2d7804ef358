/** PROXY headers as proxies write them. */
import { crc32 } from "hash-wasm";

const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const encode = (text: string) => new TextEncoder().encode(text);

/** A line of version 1. */
export const v1 = (text: string): Uint8Array => encode(`PROXY ${text}\r\n`);

/** A header of version 2: its 13th and 14th octet, and what follows the length. */
export function v2(command: number, family: number, rest: readonly number[]): Uint8Array {
  return Uint8Array.from([...signature, command, family, rest.length >> 8, rest.length & 0xff, ...rest]);
}

const port = (number: number) => [number >> 8, number & 0xff];

/** From 192.0.2.7:4711 to 198.51.100.25:25. */
export const addresses4 = [192, 0, 2, 7, 198, 51, 100, 25, ...port(4711), ...port(25)];
/** From 2001:db8::7, port 4711, to 2001:db8::19, port 25. */
export const addresses6 = [
  ...[0x20, 0x01, 0x0d, 0xb8, ...Array<number>(11).fill(0), 7],
  ...[0x20, 0x01, 0x0d, 0xb8, ...Array<number>(11).fill(0), 25],
  ...port(4711),
  ...port(25),
];

export const tlv = (type: number, value: readonly number[]): number[] => [
  type,
  ...port(value.length),
  ...value,
];

/** The header with its right checksum as the last TLV. */
export async function withChecksum(
  command: number,
  family: number,
  rest: readonly number[],
): Promise<Uint8Array> {
  const header = v2(command, family, [...rest, ...tlv(0x03, [0, 0, 0, 0])]);
  const sum = parseInt(await crc32(header, 0x82f63b78), 16);
  new DataView(header.buffer).setUint32(header.length - 4, sum);
  return header;
}
