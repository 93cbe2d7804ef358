/** Whether a message has octets that not every server takes. */
import type { Rendered } from "../../message/render.ts";

/** Octets in which a header's end is looked for. */
const longestHeader = 256 * 1024;

/** Whether there are octets above 127. */
export async function someEightBit(content: Rendered, where: "header" | "all"): Promise<boolean> {
  if (content instanceof Uint8Array) {
    return hasEightBit(where === "all" ? content : content.subarray(0, endOfHeader(content)));
  }
  let begun = new Uint8Array(0);
  for await (const piece of content) {
    if (where === "all") {
      if (hasEightBit(piece)) return true;
      continue;
    }
    const joined: Uint8Array<ArrayBuffer> = new Uint8Array(begun.length + piece.length);
    joined.set(begun);
    joined.set(piece, begun.length);
    begun = joined;
    const end = endOfHeader(begun);
    if (end < begun.length || begun.length >= longestHeader) return hasEightBit(begun.subarray(0, end));
  }
  return hasEightBit(begun);
}

function hasEightBit(bytes: Uint8Array): boolean {
  for (let index = 0; index < bytes.length; index++) if (bytes[index]! > 127) return true;
  return false;
}

/** Where the empty line is, or the end. */
function endOfHeader(bytes: Uint8Array): number {
  const LF = 0x0a, CR = 0x0d;
  if (bytes[0] === CR && bytes[1] === LF) return 0;
  for (let feed = bytes.indexOf(LF); feed >= 0; feed = bytes.indexOf(LF, feed + 1)) {
    if (bytes[feed + 1] === CR && bytes[feed + 2] === LF) return feed + 1;
  }
  return bytes.length;
}
