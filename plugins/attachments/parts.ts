/** The leaves of a message's tree of parts, with every name and type they go by. Runs in the Worker. */
import PostalMime, { decodeWords } from "postal-mime";

/** A leaf. */
export interface Part {
  readonly names: readonly string[];
  /** Lower case, without parameters. */
  readonly type: string;
  /** Whether it is said to be an attachment. */
  readonly attached: boolean;
  readonly content: Uint8Array<ArrayBuffer>;
}

/** What this reads of postal-mime's tree: its list of attachments leaves out texts that have a name, which clients show as files. */
interface Node {
  readonly contentType: { readonly parsed: Structured; readonly multipart: string | false };
  readonly contentDisposition: { readonly parsed: Structured };
  /** Every field, unfolded; `key` in lower case. */
  readonly headers: readonly { readonly key: string; readonly value: string }[];
  readonly content: ArrayBuffer | null;
  readonly childNodes: readonly Node[];
}

interface Structured {
  readonly value: string;
  readonly params: Readonly<Record<string, string | undefined>>;
}

/** @throws {Error} when the message's structure is beyond all bounds. */
export async function partsOf(content: Uint8Array<ArrayBuffer>): Promise<Part[]> {
  const parser = new PostalMime({ forceRfc822Attachments: true, maxNestingDepth: 100 });
  await parser.parse(content);
  const { root } = parser as unknown as { readonly root: Node };
  const parts: Part[] = [];
  collect(root, parts);
  return parts;
}

function collect(node: Node, into: Part[]): void {
  for (const child of node.childNodes) collect(child, into);
  const { contentType: { parsed: type, multipart }, contentDisposition: { parsed: disposition } } = node;
  // A multipart without parts is shown as text by some, and its whole content lies here.
  if (node.content === null || (multipart && node.childNodes.length > 0)) return;
  // `filename` and `name` may differ, and clients differ in which they take.
  const names = [disposition.params.filename, type.params.name, ...otherNames(node)].flatMap((name) =>
    name ? [decoded(name)] : []
  );
  into.push({
    names: [...new Set(names)],
    type: type.value,
    attached: disposition.value === "attachment",
    content: new Uint8Array(node.content),
  });
}

/** A name as a parameter, wherever it stands; quotes that don't end go to the end, so that this takes linear time. */
const nameParameter =
  /(?<![\w-])(?:file)?name(\*)?[ \t]*=[ \t]*(?:"((?:[^"\\]|\\[^]?)*)(?:"|$)|([^;\s"]+))/gi;

/** What a parser leaves out and some client takes: a field or a parameter that is there twice, one without its semicolon. */
function otherNames({ headers }: Node): string[] {
  return headers.flatMap(({ key, value }) => {
    if (key !== "content-type" && key !== "content-disposition") return [];
    return Array.from(value.matchAll(nameParameter), ([, isExtended, quoted, bare = ""]) => {
      const text = quoted?.replaceAll(/\\([^])/g, "$1") ?? bare;
      return isExtended ? unescaped(text) : text;
    });
  });
}

/** RFC 8187's form, taken for UTF-8 whatever it says: letters of extensions are ASCII. */
function unescaped(text: string): string {
  const octets = utf8.encode(text.slice(text.lastIndexOf("'") + 1)).values();
  const plain = Array.from(octets, (octet) => String.fromCharCode(octet)).join("")
    .replaceAll(/%([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)));
  return new TextDecoder().decode(Uint8Array.from(plain, (letter) => letter.charCodeAt(0)));
}

const utf8 = new TextEncoder();

/** RFC 2047 §5 forbids encoded words there, and many write them. */
function decoded(name: string): string {
  try {
    return decodeWords(name);
  } catch {
    return name;
  }
}

const latin1 = new TextDecoder("latin1");

/** Names of files uuencoded amid a text, which some clients still show as attachments. */
export function uuencodedNames(text: Uint8Array<ArrayBuffer>): string[] {
  const found = latin1.decode(text).matchAll(/^begin(?:-base64)? [0-7]{3,4} ([^\r\n]{1,255})/gm);
  return [...new Set(Array.from(found, ([, name]) => name!.trim()))];
}
