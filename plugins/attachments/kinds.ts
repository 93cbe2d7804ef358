/** What the names and the first octets of files say about their kind. Pure. */

/** What programs of some system start when it is opened; mail services that many use refuse the same. */
export const startable = (
  "ade adp apk appx appxbundle bat cab chm class cmd com cpl diagcab dll dmg elf ex ex_ exe hlp hta img ins iso isp jar " +
  "jnlp js jse lib lnk mde mjs msc msi msix msixbundle msp mst nsh pif ps1 psm1 reg scf scr sct settingcontent-ms shb sys vb " +
  "vbe vbs vhd vhdx vxd wsc wsf wsh xll"
).split(" ");

const set = (words: string): ReadonlySet<string> => new Set(words.split(" "));

const pages = set("htm html xhtml shtml mht mhtml svg hta");
const executables = set("exe elf dll macho class jar lnk com scr msi apk wasm swf");
const archives = set(
  "zip 7z rar gz tgz tar bz2 tbz tbz2 xz txz lzma zst z cab arj lzh lha iso img udf wim vhd vhdx dmg cpio deb rpm ar",
);
/** Read by the program that has them open, not by one that unpacks; some are zip archives, or the container `cfb`, inside. */
const documents = set(
  "pdf doc docx docm dot dotx xls xlsx xlsm xlsb ppt pptx pptm pps ppsx odt ods odp odg rtf txt csv epub xps pages key numbers vsd vsdx",
);
const pictures = set("jpg jpeg png gif bmp tif tiff webp heic avif ico");
const recordings = set("mp3 mp4 m4a mov avi mkv wav ogg flac webm wmv");

/** Letters that are not seen, or that turn the direction of what is written (U+202E shows `cod.exe` as `exe.doc`). */
const hidden = /[\p{Cc}\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu;
const turns = /[\u202a-\u202e\u2066-\u2069\u200e\u200f]/;

/** The name without folders and without what systems leave out: letters not seen, dots and blanks at the end. */
export function plainName(name: string): string {
  const file = name.slice(Math.max(name.lastIndexOf("/"), name.lastIndexOf("\\")) + 1);
  const seen = file.replace(hidden, "");
  let end = seen.length; // by hand: /[\s.]+$/ takes quadratic time
  while (end > 0 && /[\s.]/u.test(seen[end - 1]!)) end--;
  return seen.slice(0, end);
}

/** A name's extension, lower case, `""` where it has none. */
export function extensionOf(name: string): string {
  const plain = plainName(name);
  const at = plain.lastIndexOf(".");
  return at < 0 ? "" : plain.slice(at + 1).trim().toLowerCase().normalize("NFKC");
}

/** Whether a name is made to be taken for another kind of file; in words, else `undefined`. */
export function disguise(name: string, refused: ReadonlySet<string>): string | undefined {
  if (turns.test(name)) return "the direction of letters changes in its name";
  const plain = plainName(name);
  const last = extensionOf(plain);
  const [, before = ""] = /\.([^.\s]{1,10})\s{0,1000}\.[^.]{0,100}$/u.exec(plain) ?? [];
  const shown = before.toLowerCase();
  if (
    (documents.has(shown) || pictures.has(shown) || recordings.has(shown)) &&
    (refused.has(last) || pages.has(last))
  ) return `it has two extensions, ${shown} and ${last}`;
  if (/\s{8}/.test(plain) && last !== "") return "blanks in its name push the extension out of sight";
}

/** Whether something with this name or these first octets is unpacked by who opens it. */
export const isArchive = (extension: string): boolean => archives.has(extension);

/**
 * What is claimed and what is there: in words, where a picture, recording or document is said to be in what is an archive or a
 * program; else `undefined`.
 */
export function mismatch(claimed: string, type: string | undefined, magic: string): string | undefined {
  if (!archives.has(magic) && !executables.has(magic)) return undefined;
  const isDocument = documents.has(claimed) || type === "application/pdf";
  const isShown = pictures.has(claimed) || recordings.has(claimed) ||
    /^(?:image|audio|video)\//.test(type ?? "");
  // Office documents of today are zip archives; whatever is not told apart from one by its first octets is one.
  if (!isShown && (!isDocument || (magic === "zip" && claimed !== "pdf" && claimed !== "txt"))) {
    return undefined;
  }
  return `it is said to be ${claimed || type} and is ${magic}`;
}
