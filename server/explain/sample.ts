/** A message from a file, as a server would have received it. */
import { ChunkDecoder } from "../smtp/data.ts";

/** The octets, with every line end a CRLF. */
export function received(bytes: Uint8Array): Uint8Array {
  const decoder = new ChunkDecoder();
  const pieces = [decoder.decode(bytes).slice(), decoder.flush().slice()];
  const whole = new Uint8Array(pieces[0]!.length + pieces[1]!.length);
  whole.set(pieces[0]!);
  whole.set(pieces[1]!, pieces[0]!.length);
  return whole;
}
