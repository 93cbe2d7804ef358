import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal, throws } from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { readHeader } from "../../server/message/header.ts";
import { concat } from "../../server/message/render.ts";
import { BodyFailed, BodyStore, type BodyStoreOptions, FileContent } from "../../server/spool/body.ts";
import { systemDisk } from "../../server/spool/disk.ts";
import { type DiskOperation, MemoryDisk } from "../../server/spool/memory_disk.ts";
import { bytes } from "../message/bytes.ts";

const folder = "/spool/body";
const KiB = 1024;

async function open(options: BodyStoreOptions = {}) {
  const disk = new MemoryDisk();
  const store = await BodyStore.open(folder, { disk, ...options });
  return { disk, store };
}

/** Octets that tell where they stand. */
function pattern(size: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: size }, (_, at) => (at * 7 + (at >> 8)) & 0xff);
}

async function all(pieces: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<Uint8Array<ArrayBuffer>> {
  return concat(await Array.fromAsync(pieces));
}

const noSpace = new Error("No space left on device (os error 28)");

function failing(disk: MemoryDisk, operation: DiskOperation, from = 1): void {
  let calls = 0;
  disk.before = (asked) => {
    if (asked === operation && ++calls >= from) throw noSpace;
  };
}

Deno.test("body: a small one waits in memory, never touches the disk, and is written without a Promise", async () => {
  const { disk, store } = await open();
  disk.before = (operation) => {
    throw new Error(operation);
  };
  const body = store.create("Q1");
  const octets = pattern(256 * KiB);
  for (let at = 0; at < octets.length; at += 1000) {
    equal(body.write(octets.subarray(at, at + 1000)), undefined);
  }
  equal(body.size, octets.length);
  const content = await body.finish();
  deepEqual(content.memory, octets);
  equal(content.size, octets.length);
  deepEqual(content.head, octets);
  deepEqual(await all(content.read()), octets);
  deepEqual(await all(content.read(1000)), octets.subarray(1000));
  equal((await all(content.read(octets.length))).length, 0);
  equal(store.memoryUsed, 256 * KiB);
  await body.discard();
  equal(store.memoryUsed, 0);
});

Deno.test("body: an empty one", async () => {
  const { store } = await open();
  const body = store.create("Q1");
  body.write(new Uint8Array(0));
  const content = await body.finish();
  deepEqual([content.size, content.memory?.length, content.head.length, store.memoryUsed], [0, 0, 0, 0]);
});

Deno.test("body: what is given to write is copied", async () => {
  const { store } = await open();
  for (const size of [100, 70 * KiB, 300 * KiB]) {
    const body = store.create("Q1");
    const octets = pattern(size);
    await body.write(octets);
    octets.fill(0);
    await body.write(octets);
    const content = await body.finish();
    deepEqual(await all(content.read()), concat([pattern(size), octets]));
    await body.discard();
  }
});

Deno.test("body: over 256 KiB it goes to a file, in writes of 64 KiB and more", async () => {
  const { disk, store } = await open();
  const body = store.create("Q1");
  const octets = pattern(2_000_000);
  for (let at = 0; at < octets.length; at += 1460) await body.write(octets.subarray(at, at + 1460));
  equal(store.memoryUsed, 0);
  const content = await body.finish();
  deepEqual(disk.contents(`${folder}/Q1`), octets);
  deepEqual(disk.writes.slice(0, -1).filter((octets) => octets < 64 * KiB), []);
  equal(content.memory, undefined);
  equal(content.size, octets.length);
  deepEqual(await all(content.read()), octets);
  deepEqual(await all(content.read(1_234_567)), octets.subarray(1_234_567));
  for await (const piece of content.read()) ok(piece.length <= 256 * KiB);
  await body.discard();
  equal(disk.contents(`${folder}/Q1`), undefined);
  equal(disk.open, 0);
});

Deno.test("body: large writes go through without being copied together", async () => {
  const { disk, store } = await open();
  const body = store.create("Q1");
  const octets = pattern(1_000_000);
  await body.write(octets.subarray(0, 100_000));
  await body.write(octets.subarray(100_000));
  const content = await body.finish();
  deepEqual(disk.writes, [100_000, 900_000]);
  deepEqual(await all(content.read()), octets);
});

Deno.test("body: when all together have used up the memory, the next one goes to a file at once", async () => {
  const { disk, store } = await open({ together: 20 * KiB });
  const [first, second, third] = [store.create("Q1"), store.create("Q2"), store.create("Q3")];
  equal(first.write(pattern(8 * KiB)), undefined);
  equal(second.write(pattern(8 * KiB)), undefined);
  await third.write(pattern(5 * KiB));
  equal(disk.open, 1);
  await second.write(pattern(1 * KiB)); // it has no room to grow
  equal(disk.open, 2);
  equal(store.memoryUsed, 8 * KiB);
  deepEqual((await third.finish()).memory, undefined);
  deepEqual(await all((await second.finish()).read()), concat([pattern(8 * KiB), pattern(1 * KiB)]));
  await first.discard();
  equal(store.memoryUsed, 0);
  const fourth = store.create("Q4");
  equal(fourth.write(pattern(5 * KiB)), undefined);
  await Promise.all([second, third, fourth].map((body) => body.discard()));
  equal(store.memoryUsed, 0);
  equal(disk.open, 0);
});

const letter = `A: 1\r\nB: ${"2\r\n ".repeat(500)}\r\nC: 3\r\n`;
const heads: readonly (readonly [it: string, content: string, fields: number])[] = [
  ["with a body", `${letter}\r\nbody${"\r\nbody".repeat(100_000)}`, 3],
  ["that a line ends", `${letter}Hello\r\n${"body\r\n".repeat(100_000)}`, 3],
  ["of nothing: the body starts with white space", ` ${letter}${"body\r\n".repeat(100_000)}`, 0],
  ["of 300 KB", `A: 1\r\n${"X: y\r\n".repeat(50_000)}C: 3\r\n\r\nbody`, 43_690],
  ["that is all there is", `A: 1\r\n${"X: y\r\n".repeat(1_000)}C: 3`, 1_002],
];
for (const [it, content, fields] of heads) {
  for (const together of [undefined, 10 * KiB, 0]) {
    Deno.test(`body: in a file, the head is the header section ${it} (memory: ${together ?? "enough"})`, async () => {
      const { store } = await open({ each: 100 * KiB, ...(together !== undefined && { together }) });
      const body = store.create("Q1");
      const octets = bytes(content);
      for (let at = 0; at < octets.length; at += 5000) await body.write(octets.subarray(at, at + 5000));
      const { head, size } = await body.finish();
      const header = readHeader(head, size);
      const expected = readHeader(octets.slice(0, 256 * KiB), size);
      deepEqual([header.length, header.fieldsEnd, header.end], [fields, expected.fieldsEnd, expected.end]);
      if (size > 100 * KiB) ok(head.length <= header.end + 1, "no more of it stays in memory");
    });
  }
}

Deno.test("body: property: however it is cut, it is read as it was written", async () => {
  const sizes = fc.array(fc.oneof(fc.nat(3000), fc.nat(100_000)), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(sizes, fc.nat(120_000), fc.nat(120_000), async (sizes, each, from) => {
      const { disk, store } = await open({ each });
      const octets = pattern(sizes.reduce((sum, size) => sum + size, 0));
      const body = store.create("Q1");
      let at = 0;
      for (const size of sizes) await body.write(octets.subarray(at, at += size));
      const content = await body.finish();
      equal(content.memory === undefined, octets.length > each);
      equal(Buffer.compare(await all(content.read(from)), octets.subarray(from)), 0);
      await body.discard();
      deepEqual([disk.open, store.memoryUsed, await disk.list(folder)], [0, 0, []]);
    }),
    { numRuns: 50 },
  );
});

for (const [operation, from] of [["openNew", 1], ["write", 1], ["write", 3]] as const) {
  Deno.test(`body: Q03 a full disk at ${operation} ${from} is a BodyFailed, and nothing is left`, async () => {
    const { disk, store } = await open();
    failing(disk, operation, from);
    const body = store.create("Q1");
    const piece = pattern(100 * KiB);
    await rejects(async () => {
      for (;;) await body.write(piece);
    }, (error) => {
      ok(error instanceof BodyFailed);
      equal(error.cause, noSpace);
      equal(error.message, `Could not write the file ${folder}/Q1: No space left on device (os error 28)`);
      return true;
    });
    deepEqual([disk.open, store.memoryUsed, await disk.list(folder)], [0, 0, []]);
    throws(() => body.write(piece), BodyFailed);
    await rejects(body.finish(), BodyFailed);
    await body.discard();
    disk.before = () => {};
    const next = store.create("Q2");
    await next.write(pattern(300 * KiB));
    equal((await next.finish()).size, 300 * KiB, "it recovers by itself");
  });
}

Deno.test("body: Q03 a disk that fails at the end, or when the head is read back", async () => {
  for (const operation of ["write", "readRange"] as const) {
    const { disk, store } = await open({ together: 0 });
    const body = store.create("Q1");
    await body.write(bytes("A: 1\r\n\r\nbody"));
    failing(disk, operation);
    await rejects(body.finish(), BodyFailed);
    deepEqual([disk.open, await disk.list(folder)], [0, []]);
  }
});

Deno.test("body: Q03 a disk that fails while it is read, or has lost the end", async () => {
  const { disk, store } = await open();
  const body = store.create("Q1");
  await body.write(pattern(300 * KiB));
  const content = await body.finish();
  failing(disk, "readRange", 2);
  await rejects(all(content.read()), (error) => error instanceof BodyFailed && error.cause === noSpace);
  disk.before = () => {};
  const short = new FileContent(
    store,
    "Q1",
    { write, sync: write, truncate: write, close() {} },
    400 * KiB,
    new Uint8Array(0),
  );
  await rejects(all(short.read()), { message: `The file ${folder}/Q1 ends at 307200 of 409600 octets.` });
});

function write(): Promise<void> {
  return Promise.resolve();
}

Deno.test("body: a file that is there already is not overwritten and not removed", async () => {
  const { disk, store } = await open();
  const [first, second] = [store.create("Q1"), store.create("Q1")];
  await first.write(pattern(300 * KiB));
  await rejects(async () => await second.write(pattern(300 * KiB)), BodyFailed);
  await second.discard();
  deepEqual(await all((await first.finish()).read()), pattern(300 * KiB));
  equal(disk.open, 1);
});

Deno.test("body: lent pieces are the same octets in one memory, given ones are the caller's", async () => {
  const { store } = await open();
  const body = store.create("lent");
  await body.write(pattern(300 * KiB + 5));
  const content = await body.finish();
  const copies: Uint8Array<ArrayBuffer>[] = [];
  const memories = new Set<ArrayBuffer>();
  for await (const piece of content.read(3, "lent")) {
    copies.push(piece.slice());
    memories.add(piece.buffer);
  }
  deepEqual(concat(copies), pattern(300 * KiB + 5).subarray(3));
  equal(memories.size, 1);
  deepEqual(await all(content.read(3)), pattern(300 * KiB + 5).subarray(3));
  await body.discard();
});

Deno.test("body: the writer waits for the disk", async () => {
  const { disk, store } = await open();
  const body = store.create("Q1");
  await body.write(pattern(300 * KiB));
  const slow = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  disk.before = (operation) => {
    if (operation !== "write") return;
    asked.resolve();
    return slow.promise;
  };
  let written = false;
  const writing = Promise.resolve(body.write(pattern(100 * KiB))).then(() => written = true);
  await asked.promise;
  throws(() => body.write(pattern(1)), { name: "TypeError", message: /await it first/ });
  equal(written, false);
  slow.resolve();
  await writing;
  equal((await body.finish()).size, 400 * KiB);
});

Deno.test("body: D06 discarded while the disk is writing, it waits and leaves nothing", async () => {
  const { disk, store } = await open();
  const body = store.create("Q1");
  const slow = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  disk.before = (operation) => {
    if (operation !== "write") return;
    asked.resolve();
    return slow.promise;
  };
  const writing = body.write(pattern(300 * KiB));
  await asked.promise;
  const discarded = Promise.all([body.discard(), body.discard()]);
  slow.resolve();
  await Promise.all([writing, discarded]);
  deepEqual([disk.open, store.memoryUsed, await disk.list(folder)], [0, 0, []]);
  throws(() => body.write(pattern(1)), { name: "TypeError", message: /The body is discarded/ });
  await rejects(body.finish(), TypeError);
});

Deno.test("body: finished, it takes no more; discarded, whatever state it was in, twice", async () => {
  const { disk, store } = await open();
  for (const size of [0, 100, 300 * KiB]) {
    const body = store.create("Q1");
    await body.write(pattern(size));
    await body.finish();
    throws(() => body.write(pattern(1)), { name: "TypeError", message: /The body is finished/ });
    await rejects(body.finish(), TypeError);
    await body.discard();
    await body.discard();
    const open = store.create("Q1");
    await open.write(pattern(size));
    await open.discard();
  }
  deepEqual([disk.open, store.memoryUsed, await disk.list(folder)], [0, 0, []]);
});

Deno.test("body: sync makes the file and its name durable; kept, the file stays", async () => {
  const { disk, store } = await open();
  const body = store.create("Q1");
  await body.write(pattern(300 * KiB));
  const content = await body.finish();
  ok(content instanceof FileContent);
  equal(content.id, "Q1");
  const done: string[] = [];
  disk.before = (operation, path) => void done.push(`${operation} ${path}`);
  await content.sync();
  deepEqual(done, [`sync ${folder}/Q1`, `syncFolder ${folder}`]);
  failing(disk, "sync");
  await rejects(content.sync(), { name: "BodyFailed", message: /^Could not make durable the file/ });
  content.keep();
  await body.discard();
  disk.before = () => {};
  deepEqual([disk.open, await disk.list(folder)], [0, ["Q1"]]);
  deepEqual(await all(content.read()), pattern(300 * KiB));
});

Deno.test("body: on start orphans are removed, what the queue needs stays", async () => {
  const disk = new MemoryDisk();
  await disk.makeFolder(folder);
  for (const name of ["Q1", "Q2.1", "lost+found", ".hidden"]) {
    (await disk.openNew(`${folder}/${name}`)).close();
  }
  await BodyStore.open(folder, { disk, kept: new Set(["Q2.1"]) });
  deepEqual((await disk.list(folder)).sort(), [".hidden", "Q2.1", "lost+found"]);
});

Deno.test("body: an id that is no file's name is refused", async () => {
  const { store } = await open();
  for (const id of ["", "..", ".x", "a/b", "a\0", "x".repeat(101)]) throws(() => store.create(id), TypeError);
});

Deno.test("body: on a real disk: 0600, 0700, O_EXCL, read back, removed", async () => {
  const parent = await Deno.makeTempDir();
  try {
    const store = await BodyStore.open(`${parent}/spool/body`);
    const body = store.create("Q1");
    const octets = pattern(1_000_000);
    for (let at = 0; at < octets.length; at += 50_000) await body.write(octets.subarray(at, at + 50_000));
    const content = await body.finish();
    const path = `${parent}/spool/body/Q1`;
    equal((await Deno.stat(path)).mode! & 0o777, 0o600);
    equal((await Deno.stat(`${parent}/spool`)).mode! & 0o777, 0o700);
    await rejects(systemDisk.openNew(path), Deno.errors.AlreadyExists);
    equal(Buffer.compare(await all(content.read()), octets), 0);
    equal(Buffer.compare(await all(content.read(777_777)), octets.subarray(777_777)), 0);
    equal(await systemDisk.readRange(path, 999_990, new Uint8Array(100)), 10);
    ok(content instanceof FileContent);
    await content.sync();
    await body.discard();
    deepEqual(await systemDisk.list(`${parent}/spool/body`), []);
    await Deno.writeFile(path, octets);
    await BodyStore.open(`${parent}/spool/body`);
    deepEqual(await systemDisk.list(`${parent}/spool/body`), []);
  } finally {
    await Deno.remove(parent, { recursive: true });
  }
});
