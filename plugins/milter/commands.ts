/** What is said to a filter: each command as a packet. Pure. */
import { isIPv4, isIPv6 } from "node:net";
import { packet } from "./frames.ts";

const encoder = new TextEncoder();
const nul = new Uint8Array(1);

/** A text with its end. What would end it sooner isn't said: an address may hold anything an attacker likes. */
function text(value: string): Uint8Array {
  return encoder.encode(`${value.replaceAll("\0", "?")}\0`);
}

/** Values that a filter may ask for beside the next command, each by its name: `i` or `{auth_type}`. */
export type Macros = readonly (readonly [name: string, value: string | undefined])[];

/** Tells macros of the command with this letter; nothing where there are none. */
export function macros(command: string, values: Macros): Uint8Array[] {
  const known = values.filter((one): one is [string, string] => one[1] !== undefined && one[1] !== "");
  if (known.length === 0) return [];
  return [
    packet("D", encoder.encode(command), ...known.flatMap(([name, value]) => [text(name), text(value)])),
  ];
}

/** Who is there. @param host Its name, or its address in brackets. */
export function connect(host: string, address: string, port: number): Uint8Array {
  const family = isIPv4(address) ? "4" : isIPv6(address) ? "6" : "U";
  if (family === "U") return packet("C", text(host), encoder.encode(family));
  const octets = new Uint8Array(2);
  new DataView(octets.buffer).setUint16(0, port);
  return packet("C", text(host), encoder.encode(family), octets, text(address));
}

export const helo = (name: string): Uint8Array => packet("H", text(name));

/** MAIL or RCPT: the address in brackets, then each parameter as it was said. */
function envelope(command: "M" | "R", address: string, params: ReadonlyMap<string, string>): Uint8Array {
  const said = [...params].map(([keyword, value]) => value === "" ? keyword : `${keyword}=${value}`);
  return packet(command, text(`<${address}>`), ...said.map(text));
}

export const mail = (sender: string, params: ReadonlyMap<string, string>): Uint8Array =>
  envelope("M", sender, params);
export const rcpt = (recipient: string, params: ReadonlyMap<string, string>): Uint8Array =>
  envelope("R", recipient, params);
export const data = (): Uint8Array => packet("T");

/** A field of the header; `value` as octets, for bytes are sacred, with LF between its lines as filters expect it. */
export const header = (name: string, value: Uint8Array): Uint8Array =>
  packet("L", encoder.encode(name), nul, value, nul);
export const endOfHeader = (): Uint8Array => packet("N");

/** Octets of a body's chunk (MILTER_CHUNK_SIZE). */
export const largestChunk = 65_535;
export const body = (octets: Uint8Array): Uint8Array => packet("B", octets);
export const endOfBody = (): Uint8Array => packet("E");
export const abort = (): Uint8Array => packet("A");
export const quit = (): Uint8Array => packet("Q");
