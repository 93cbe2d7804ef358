/** Disks for tests: one that tells what is done to it, and fails where it is told to. */
import { type Disk, machineDisk } from "../../../plugins/maildir/disk.ts";

/** A folder of this test's own, gone when the scope ends. */
export async function folder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.realPath(await Deno.makeTempDir());
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** An error as the operating system's come: with its code. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: as the test wants it`), { code });
}

/** The machine's disk, every operation recorded as `name path`; `before` may throw instead of it. */
export function recorded(
  before: (operation: string, number: number) => void = () => {},
): Disk & { readonly done: string[] } {
  const done: string[] = [];
  const step = (operation: string) => {
    before(operation, done.length);
    done.push(operation);
  };
  const named = (name: string, run: (path: string) => Promise<void>) => async (path: string) => {
    step(`${name} ${path}`);
    await run(path);
  };
  return {
    done,
    async create(path) {
      step(`create ${path}`);
      const file = await machineDisk.create(path);
      return {
        async write(bytes) {
          step(`write ${path}`);
          await file.write(bytes);
        },
        async sync() {
          step(`fdatasync ${path}`);
          await file.sync();
        },
        close: () => file.close(),
      };
    },
    async link(from, to) {
      step(`link ${to}`);
      await machineDisk.link(from, to);
    },
    remove: named("remove", machineDisk.remove),
    makeDirectory: named("mkdir", machineDisk.makeDirectory),
    syncDirectory: named("fsync", machineDisk.syncDirectory),
    realPath: (path) => machineDisk.realPath(path),
  };
}

/** All files below a folder, relative to it, sorted. */
export async function files(path: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(path)) {
    if (!isDirectory) found.push(name);
    else found.push(...(await files(`${path}/${name}`)).map((inner) => `${name}/${inner}`));
  }
  return found.sort();
}
