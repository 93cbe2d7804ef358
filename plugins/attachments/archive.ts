/**
 * Lists archives and unpacks single entries of them, with 7-Zip compiled to WebAssembly: all it can reach is its own memory. Runs in
 * the Worker, which is ended where this takes too long.
 */
import sevenZip, { type SevenZipModule, type SevenZipModuleFactory } from "7z-wasm";

/** An entry of an archive. */
export interface Entry {
  /** `""`: it is the only one, and has none. */
  readonly name: string;
  readonly size: number;
  readonly isEncrypted: boolean;
}

/** What an archive's list came to. `encrypted`: the list itself. */
export type Listed =
  | { readonly kind: "list"; readonly entries: readonly Entry[] }
  | { readonly kind: "encrypted" | "damaged" };

/** What unpacking came to. */
export type Unpacked = Uint8Array<ArrayBuffer> | "damaged" | "too much";

/** Octets of memory an archive can make 7-Zip use: its dictionary is as large as whoever made it says. */
const mostMemory = 320 * 1024 * 1024;
/** Octets of memory that a call leaves for the next one. */
const mostKept = 64 * 1024 * 1024;
/** Letters of the longest name, with its folders, that an entry is unpacked by: it lies on 7-Zip's stack. */
const longestName = 4096;
/** Octets of the longest list. */
const longestList = 16 * 1024 * 1024;

// The package offers no bound. This is the Worker's own WebAssembly: nobody else's memory is bounded by it.
const grow = WebAssembly.Memory.prototype.grow;
WebAssembly.Memory.prototype.grow = function (pages: number): number {
  const octets = this.buffer.byteLength + pages * 65_536;
  if (octets > mostMemory) throw new RangeError("too much memory");
  grownTo = octets;
  return grow.call(this, pages);
};
/** Octets of the memory that grew last: what WebAssembly has once been given, it keeps. */
let grownTo = 0;

// A CommonJS module: its types have a default export, and the module is what they mean by it.
const SevenZip = sevenZip as unknown as SevenZipModuleFactory;

/** An archive, held in 7-Zip's memory. */
const place = "/archive";

/** What one call of 7-Zip said. */
interface Said {
  readonly code: number | "threw";
  readonly output: Uint8Array<ArrayBuffer>;
  readonly isCut: boolean;
  readonly asked: boolean;
}

/** What 7-Zip writes in one call. */
class Output {
  octets = new Uint8Array(64 * 1024);
  length = 0;
  isCut = false;
  asked = false;

  constructor(readonly most: number) {}

  put(octet: number): void {
    if (this.length >= this.most) {
      this.isCut = true;
      throw new Error("enough"); // 7-Zip sees a disk that is full
    }
    if (this.length === this.octets.length) {
      const larger = new Uint8Array(Math.min(this.most, this.length * 2));
      larger.set(this.octets);
      this.octets = larger;
    }
    this.octets[this.length++] = octet;
  }
}

/** An instance of 7-Zip, and where it writes to. */
interface Instance {
  readonly module: SevenZipModule;
  output: Output;
  /** About how many octets of its stack its calls have taken. */
  spent: number;
}

/** Each call's arguments stay on the stack, 64 KiB in all, which then grows into other memory: it is left long before. */
const mostSpent = 4096;
/** An argument takes its octets and a pointer, a call what it needs for alignment. */
const spentBy = (args: readonly string[]) => args.reduce((sum, { length }) => sum + 3 * length + 16, 64);

async function newInstance(): Promise<Instance> {
  const instance = { output: new Output(0), spent: 0 };
  const module = await SevenZip({
    stdin() {
      instance.output.asked = true; // for a password
      return null as unknown as number; // the end of the input
    },
    stdout(octet: number | null) {
      if (octet !== null) instance.output.put(octet); // null: flushed
    },
    stderr() {},
  });
  return Object.assign(instance, { module });
}

/** The one that the next call uses: to make one takes longer than most calls do. */
let idle: Instance | undefined;

async function run(archive: Uint8Array, args: readonly string[], most: number): Promise<Said> {
  const instance = idle && idle.spent + spentBy(args) <= mostSpent ? idle : await newInstance();
  idle = undefined;
  instance.spent += spentBy(args);
  const { module } = instance;
  const output = instance.output = new Output(most);
  module.FS.writeFile(place, archive);
  const { exitCode } = Deno;
  let code: Said["code"];
  try {
    // Its type says void, the program's exit code it is.
    code = module.callMain([...args]) as unknown as number;
  } catch {
    code = "threw";
  }
  Deno.exitCode = exitCode; // 7-Zip's became this program's
  module.FS.unlink(place);
  // Whatever went wrong in it may be wrong with it.
  if (code === 0 && !output.asked && !output.isCut && grownTo <= mostKept) idle = instance;
  else grownTo = 0;
  return { code, output: output.octets.subarray(0, output.length), isCut: output.isCut, asked: output.asked };
}

/** What stands in an archive, of whatever kind. */
export async function list(archive: Uint8Array): Promise<Listed> {
  const { code, output, isCut, asked } = await run(
    archive,
    ["l", "-slt", "-ba", "-sccUTF-8", place],
    longestList,
  );
  if (asked) return { kind: "encrypted" };
  if (code === "threw" || code > 1 || isCut) return { kind: "damaged" };
  return { kind: "list", entries: readList(new TextDecoder().decode(output)) };
}

/** 7-Zip's technical listing: `Key = value` lines, an empty line between entries. Line ends in names are `_` there. */
export function readList(text: string): Entry[] {
  return text.split(/\n\n+/).flatMap((block) => {
    const fields = new Map(
      block.split("\n").flatMap((line) => {
        const at = line.indexOf(" = ");
        return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 3)] as const];
      }),
    );
    if ((!fields.has("Path") && !fields.has("Packed Size")) || fields.get("Folder") === "+") return [];
    const size = fields.get("Size") ?? "";
    return [{
      name: fields.get("Path") ?? "",
      size: /^[0-9]{1,15}$/.test(size) ? Number(size) : 0,
      isEncrypted: fields.get("Encrypted") === "+",
    }];
  });
}

/** One entry's content, of no more than `most` octets. */
export async function unpack(archive: Uint8Array, { name, size }: Entry, most: number): Promise<Unpacked> {
  if (size > most) return "too much";
  if (name.length > longestName) return "damaged"; // no system makes files of such names
  const { code, output, isCut } = await run(archive, [
    "e",
    "-so",
    "-spd",
    "-p-",
    "--",
    place,
    ...name === "" ? [] : [name],
  ], most);
  if (isCut) return "too much";
  // A name that 7-Zip shows otherwise than it stands there finds nothing, and that is no error to it.
  return code === 0 && (output.length > 0 || size === 0) ? output : "damaged";
}
