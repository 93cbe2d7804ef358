/** The file of SRS keys. */
import { isScalar, isSeq, type Node } from "yaml";
import type { Problem } from "../yaml_file.ts";

/** Octets of a key at least: as long as what it is to withstand. */
const shortest = 16;

/**
 * Reads the keys, the first of which signs: a YAML list, or one key alone (as `openssl rand -hex 32` writes it).
 *
 * @throws {Error} what `problem` makes of the first mistake; no key stands in it.
 */
export function readKeys(root: Node | null, problem: Problem): readonly string[] {
  if (root === null || (isScalar(root) && root.value === null)) {
    throw problem(root, "there is no key in this file: put one there, as `openssl rand -hex 32` makes it");
  }
  const nodes = isSeq<Node>(root) ? root.items : [root];
  if (nodes.length === 0) throw problem(root, "there is no key in this list");
  const keys = nodes.map((node) => {
    if (!isScalar(node)) throw problem(node, "a key is a text; several are a list: `- key`, one a line");
    // As it is written: digits alone would be a number to YAML, and lose what follows the sixteenth.
    const text = typeof node.value === "string" ? node.value : node.source ?? "";
    if (/\s/.test(text)) throw problem(node, "a key has no spaces; several are a list: `- key`, one a line");
    if (text.length < shortest) {
      throw problem(node, `a key has at least ${shortest} characters: make one by \`openssl rand -hex 32\``);
    }
    return text;
  });
  keys.forEach((key, at) => {
    if (keys.indexOf(key) < at) throw problem(nodes[at]!, "this key stands here twice");
  });
  return keys;
}
