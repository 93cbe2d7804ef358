/** Archives and messages that tests are made with. */
import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";
import sevenZip, { type SevenZipModuleFactory } from "7z-wasm";
import MailComposer from "nodemailer/lib/mail-composer/index.js";

const SevenZip = sevenZip as unknown as SevenZipModuleFactory;

/** What the archive holds: names, and their content. */
export type Files = Readonly<Record<string, string | Uint8Array>>;

/** An archive as 7-Zip packs it; `args` such as `-tzip`, `-psecret`, `-mhe=on`. */
export async function packed(files: Files, ...args: string[]): Promise<Uint8Array<ArrayBuffer>> {
  const { FS, callMain } = await SevenZip({ stdout() {}, stderr() {} });
  FS.mkdir("/in");
  FS.chdir("/in");
  for (const [name, content] of Object.entries(files)) FS.writeFile(name, content);
  callMain(["a", ...args, "/archive", "--", ...Object.keys(files)]);
  const [name] = FS.readdir("/").filter((one: string) => one.startsWith("archive"));
  return new Uint8Array(FS.readFile(`/${name}`));
}

/** A RAR archive (its format 4) with stored files: nothing free can pack one. */
export function rar(files: Files, { encrypted = false } = {}): Uint8Array<ArrayBuffer> {
  const utf8 = new TextEncoder();
  const header = (type: number, flags: number, rest: number[]) => {
    const size = 7 + rest.length;
    const body = [type, flags & 255, flags >> 8, size & 255, size >> 8, ...rest];
    const sum = crc32(Uint8Array.from(body)) & 0xffff;
    return [sum & 255, sum >> 8, ...body];
  };
  const four = (number: number) => [0, 8, 16, 24].map((shift) => (number >>> shift) & 255);
  const blocks = Object.entries(files).flatMap(([name, text]) => {
    const content = typeof text === "string" ? utf8.encode(text) : text;
    const letters = utf8.encode(name);
    const sizes = [...four(content.length), ...four(content.length)];
    const rest = [
      ...sizes,
      3,
      ...four(crc32(content)),
      ...four(0),
      29,
      0x30,
      letters.length,
      0,
      ...four(0o100644),
    ];
    return [...header(0x74, 0x8000 | (encrypted ? 4 : 0), [...rest, ...letters]), ...content];
  });
  const magic = [0x52, 0x61, 0x72, 0x21, 0x1a, 0x07, 0x00];
  return Uint8Array.from([
    ...magic,
    ...header(0x73, 0, [0, 0, 0, 0, 0, 0]),
    ...blocks,
    ...header(0x7b, 0x4000, []),
  ]);
}

/** An attachment. */
export interface Attached {
  readonly filename?: string | false;
  readonly content: string | Uint8Array;
  readonly contentType?: string;
}

/** A message with these attachments, as another program makes it. */
export async function mail(...attachments: Attached[]): Promise<Uint8Array<ArrayBuffer>> {
  const composer = new MailComposer({
    from: "bob@example.net",
    to: "alice@example.org",
    subject: "Files",
    text: "Here they are.",
    attachments: attachments.map(({ content, ...rest }) => ({
      ...rest,
      content: typeof content === "string" ? content : Buffer.from(content),
    })),
  });
  return new Uint8Array(await composer.compile().build());
}

/** What a Windows program begins with, as far as anybody looks. */
export const program: Uint8Array<ArrayBuffer> = new Uint8Array(512);
program.set([0x4d, 0x5a, 0x90]);
