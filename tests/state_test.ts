/** The state directory's owner and mode; what another server does is told in tests/e2e. */
import { rejects, strictEqual as equal } from "node:assert/strict";
import { join } from "node:path";
import { openState } from "../server/state.ts";

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("state: a missing directory is made for its owner alone", () =>
  inFolder(async (folder) => {
    const state = await openState(join(folder, "var", "state"));
    equal((await Deno.stat(state.folder)).mode! & 0o777, 0o700);
    await state.close();
  }));

for (const [mode, said] of [[0o770, "0770"], [0o702, "0702"], [0o1777, "1777"]] as const) {
  Deno.test(`state: one of mode ${said} is refused, with what to do`, () =>
    inFolder(async (folder) => {
      await Deno.chmod(folder, mode);
      await rejects(openState(folder), {
        message:
          `The state directory ${folder} can't be used: others may write there (mode ${said}): chmod 0700 it.`,
      });
    }));
}

Deno.test("state: one that others may only read is taken", () =>
  inFolder(async (folder) => {
    await Deno.chmod(folder, 0o755);
    await (await openState(folder)).close();
  }));

Deno.test("state: another user's is refused, with what to do", async () => {
  // Root can give one away; who isn't root finds one of root's.
  const isRoot = Deno.uid() === 0;
  await inFolder(async (folder) => {
    if (isRoot) await Deno.chown(folder, 1, 1);
    await rejects(openState(isRoot ? folder : "/etc"), (error: Error) => {
      const owner = isRoot ? 1 : 0;
      equal(
        error.message.replace(/^.*can't be used: /, ""),
        `it belongs to user ${owner} and must belong to user ${Deno.uid()}, as whom the server runs: ` +
          "chown it, or take another folder.",
      );
      return true;
    });
  });
});
