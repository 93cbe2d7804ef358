import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { crc32 } from "node:zlib";
import { list, unpack } from "../../../plugins/attachments/archive.ts";
import { packed, rar } from "./made.ts";

const files = { "readme.txt": "Hello", "evil é*.exe": "MZ" };
const kinds: readonly (readonly [string, () => Uint8Array | Promise<Uint8Array>])[] = [
  ["zip", () => packed(files, "-tzip")],
  ["7z", () => packed(files, "-t7z")],
  ["tar", () => packed(files, "-ttar")],
  ["rar", () => rar(files)],
];

for (const [kind, make] of kinds) {
  Deno.test(`attachments: what stands in a ${kind} archive, and one of its files`, async () => {
    const archive = await make();
    const listed = await list(archive);
    equal(listed.kind, "list");
    const entries = listed.kind === "list" ? listed.entries.toSorted((a, b) => b.size - a.size) : [];
    deepEqual(entries.map(({ size, isEncrypted }) => [size, isEncrypted]), [[5, false], [2, false]]);
    equal(entries[0]!.name, "readme.txt");
    const content = await unpack(archive, entries[0]!, 1000);
    equal(typeof content === "string" ? content : new TextDecoder().decode(content), "Hello");
    equal(await unpack(archive, entries[0]!, 4), "too much");
  });
}

for (const kind of ["gzip", "bzip2", "xz"]) {
  Deno.test(`attachments: the one file in ${kind}`, async () => {
    const archive = await packed({ "readme.txt": "Hello" }, `-t${kind}`);
    const listed = await list(archive);
    const entries = listed.kind === "list" ? listed.entries : [];
    equal(entries.length, 1);
    const content = await unpack(archive, entries[0]!, 1000);
    equal(typeof content === "string" ? content : new TextDecoder().decode(content), "Hello");
  });
}

Deno.test("attachments: what is encrypted says so: files, and whole lists", async () => {
  for (
    const archive of [
      await packed(files, "-tzip", "-psecret"),
      await packed(files, "-psecret"),
      rar(files, { encrypted: true }),
    ]
  ) {
    const listed = await list(archive);
    equal(listed.kind === "list" && listed.entries.every(({ isEncrypted }) => isEncrypted), true);
  }
  deepEqual(await list(await packed(files, "-psecret", "-mhe=on")), { kind: "encrypted" });
});

Deno.test("attachments: a damaged archive is one, and no more than that", async () => {
  const zip = await packed({ "a.txt": "Hello ".repeat(1000) }, "-tzip");
  for (const archive of [zip.subarray(0, 40), new Uint8Array(0), new Uint8Array(1000), zip.subarray(30)]) {
    deepEqual(await list(archive), { kind: "damaged" });
  }
  equal(await unpack(zip, { name: "b.txt", size: 5, isEncrypted: false }, 1000), "damaged");
  zip.fill(0, 40, 60);
  equal(await unpack(zip, { name: "a.txt", size: 6000, isEncrypted: false }, 10_000), "damaged");
});

Deno.test("attachments: a bomb is unpacked as far as is allowed, whatever its list says", async () => {
  const zip = await packed({ "big.bin": new Uint8Array(20_000_000) }, "-tzip");
  equal(zip.length < 30_000, true);
  const listed = await list(zip);
  const entry = listed.kind === "list" ? listed.entries[0]! : undefined;
  equal(entry!.size, 20_000_000);
  equal(await unpack(zip, entry!, 1_000_000), "too much");
  equal(await unpack(zip, { ...entry!, size: 1 }, 1_000_000), "too much");
});

Deno.test("attachments: line ends and paths in names stay names", async () => {
  const archive = rar({ "a\n\nPath = b.txt": "1", "../../etc/x.exe": "2" });
  const listed = await list(archive);
  const names = listed.kind === "list" ? listed.entries.map(({ name }) => name) : [];
  equal(names.length, 2);
  equal(names[1]!.endsWith("x.exe"), true);
});

/** The same 7z archive of one LZMA block, whose dictionary is said to have so many octets. */
function withDictionary(archive: Uint8Array<ArrayBuffer>, octets: number): Uint8Array<ArrayBuffer> {
  const view = new DataView(archive.buffer);
  const header = 32 + Number(view.getBigUint64(12, true));
  const at = archive.findIndex((octet, index) =>
    index > header && octet === 0x5d && archive[index - 1] === 5 && archive[index - 2] === 1
  );
  view.setUint32(at + 1, octets, true);
  view.setUint32(28, crc32(archive.subarray(header)), true);
  view.setUint32(8, crc32(archive.subarray(12, 32)), true);
  return archive;
}

Deno.test("attachments: an archive that wants a gigabyte of memory doesn't get it", async () => {
  const archive = await packed({ "a.txt": "Hello ".repeat(100) }, "-m0=lzma", "-mhc=off");
  const entry = { name: "a.txt", size: 600, isEncrypted: false };
  equal((await unpack(withDictionary(archive, 16 * 1024 * 1024), entry, 1000)).length, 600);
  equal((await list(withDictionary(archive, 1024 * 1024 * 1024))).kind, "list");
  equal(await unpack(archive, entry, 1000), "damaged");
});

Deno.test("attachments: the five hundredth archive is read like the first: what 7-Zip's calls leave on its stack does no harm", async () => {
  const archive = await packed({ "readme.txt": "Hello" }, "-tzip");
  for (let i = 0; i < 250; i++) {
    const listed = await list(archive);
    equal(listed.kind, "list", `after ${2 * i} calls`);
    const [entry] = listed.kind === "list" ? listed.entries : [];
    const content = await unpack(archive, entry!, 1000);
    equal(new TextDecoder().decode(content as Uint8Array<ArrayBuffer>), "Hello", `after ${2 * i + 1} calls`);
  }
  const name = `${"n".repeat(5000)}.txt`;
  equal(await unpack(archive, { name, size: 1, isEncrypted: false }, 1000), "damaged");
});
