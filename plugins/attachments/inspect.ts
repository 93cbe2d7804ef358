/** Goes through a message, and through what is inside of what it finds, as far as limits allow. Runs in the Worker. */
import { fileTypeFromBuffer } from "file-type";
import { type Entry, list, unpack } from "./archive.ts";
import type { Closed, Found, Inspection, Limits } from "./findings.ts";
import { extensionOf, isArchive } from "./kinds.ts";
import { type Part, partsOf, uuencodedNames } from "./parts.ts";

/** @param message The whole of it, as it came. */
export async function inspect(message: Uint8Array<ArrayBuffer>, limits: Limits): Promise<Inspection> {
  const inspector = new Inspector(limits);
  await inspector.message(message, []);
  return { found: inspector.found, closed: inspector.closed };
}

/** Formats that hold one file: what is in it is what counts, and its name isn't always told. */
const wrappings = new Set(["gz", "tgz", "bz2", "tbz", "tbz2", "xz", "txz", "lzma", "zst", "z"]);

class Inspector {
  readonly found: Found[] = [];
  readonly closed: Closed[] = [];
  #unpacked = 0;
  #unpackings = 0;

  constructor(readonly limits: Limits) {}

  async message(content: Uint8Array<ArrayBuffer>, inside: readonly string[]): Promise<void> {
    let parts: Part[];
    try {
      parts = await partsOf(content);
    } catch {
      return this.#close(inside, "message", "damaged");
    }
    for (const part of parts) await this.#part(part, inside);
  }

  async #part({ names, type, attached, content }: Part, inside: readonly string[]): Promise<void> {
    const isText = /^text\//.test(type) && !attached && names.length === 0;
    const magic = isText ? undefined : await magicOf(content);
    const kind = isText ? "text" : "part";
    if (!this.#add({ inside, names, type, magic, size: content.length, kind })) return;
    if (/^text\//.test(type)) {
      for (const name of uuencodedNames(content)) {
        if (!this.#add({ inside, names: [name], type, size: content.length, kind: "part" })) return;
      }
    }
    await this.#open(content, names, type, magic?.extension, inside);
  }

  /** Looks inside, where there is an inside. */
  async #open(
    content: Uint8Array<ArrayBuffer>,
    names: readonly string[],
    type: string,
    magic: string | undefined,
    inside: readonly string[],
  ): Promise<void> {
    const extensions = names.map(extensionOf);
    const isMessage = /^message\/(?:rfc822|global|news)$/.test(type) || extensions.includes("eml");
    const looksPacked = magic !== undefined && (isArchive(magic) || zipLike.has(magic));
    if (!isMessage && !looksPacked && !extensions.some(isArchive)) return;
    const name = names[0] ?? (isMessage ? "message" : magic ?? "archive");
    if (inside.length >= this.limits.depth) return this.#close(inside, name, "too deep");
    const within = [...inside, name];
    if (isMessage) return await this.message(content, within);
    await this.#archive(content, name, within, looksPacked);
  }

  async #archive(
    content: Uint8Array<ArrayBuffer>,
    name: string,
    inside: readonly string[],
    looksPacked: boolean,
  ): Promise<void> {
    const listed = await list(content);
    const outside = inside.slice(0, -1);
    if (listed.kind !== "list") {
      // A text that is called `x.img` is no archive at all; what begins as one and can't be read is.
      if (listed.kind === "encrypted" || looksPacked || extensionOf(name) !== "img") {
        this.#close(outside, name, listed.kind);
      }
      return;
    }
    if (listed.entries.some(({ isEncrypted }) => isEncrypted)) this.#close(outside, name, "encrypted");
    for (const entry of listed.entries) {
      const called = entry.name === "" || entry.name === nameless ? unwrapped(name) : entry.name;
      if (!this.#add({ inside, names: [called], size: entry.size, kind: "entry" })) return;
      await this.#entry(
        content,
        entry,
        called,
        inside,
        wrappings.has(extensionOf(name)) || listed.entries.length === 1,
      );
    }
  }

  /** What an archive holds is unpacked only where it has an inside itself. */
  async #entry(
    archive: Uint8Array<ArrayBuffer>,
    entry: Entry,
    name: string,
    inside: readonly string[],
    isSingle: boolean,
  ): Promise<void> {
    const extension = extensionOf(name);
    if (entry.isEncrypted || (!isArchive(extension) && extension !== "eml" && !isSingle)) return;
    if (this.#unpackings++ >= this.limits.unpackings) return this.#tooMuch(inside, name);
    const content = await unpack(archive, entry, this.limits.unpacked - this.#unpacked);
    if (typeof content === "string") {
      // A single file of some other kind needs no look inside.
      if (isArchive(extension) || extension === "eml" || content === "too much") {
        this.#close(inside, name, content);
      }
      return;
    }
    this.#unpacked += content.length;
    const magic = await magicOf(content);
    if (magic) this.found[this.found.length - 1] = { ...this.found.at(-1)!, magic };
    await this.#open(content, [name], "", magic?.extension, inside);
  }

  /** Says whether there is room for more. */
  #add(found: Found): boolean {
    if (this.found.length >= this.limits.entries) {
      this.#tooMuch(found.inside, found.names[0] ?? "part");
      return false;
    }
    this.found.push(found);
    return true;
  }

  /** Once for all that follow each other: there may be thousands. */
  #tooMuch(inside: readonly string[], name: string): void {
    if (this.closed.at(-1)?.why !== "too much") this.#close(inside, name, "too much");
  }

  #close(inside: readonly string[], name: string, why: Closed["why"]): void {
    this.closed.push({ inside, name, why });
  }
}

/** What 7-Zip calls a file that a wrapping doesn't name. */
const nameless = "archive~";

/** A file's name without its wrapping. */
function unwrapped(name: string): string {
  const stem = name.replace(/\.[^.]*$/, "");
  return /^t[bgx]z2?$/.test(extensionOf(name)) ? `${stem}.tar` : stem;
}

/** What file-type tells apart from a zip by the first names in it, which is whoever's word made it. */
const zipLike = new Set([
  "docx",
  "xlsx",
  "pptx",
  "odt",
  "ods",
  "odp",
  "odg",
  "epub",
  "jar",
  "apk",
  "xpi",
  "3mf",
  "vsdx",
]);

async function magicOf(content: Uint8Array<ArrayBuffer>): Promise<Found["magic"]> {
  try {
    // As far as an ISO 9660 volume says what it is.
    const found = await fileTypeFromBuffer(content.subarray(0, 64 * 1024));
    return found && { extension: found.ext, type: found.mime };
  } catch {
    return undefined;
  }
}
