/** Files of the spool are kept over the control socket as long as the other side is there, and no longer. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { systemClock } from "../../server/clock.ts";
import { findServer } from "../../server/control/client.ts";
import { LocalQueue } from "../../server/control/operations.ts";
import { writeAll } from "../../server/control/protocol.ts";
import { controlPath, ControlServer } from "../../server/control/server.ts";
import type { Freeze, FrozenFile } from "../../server/spool/freeze.ts";
import { MemorySpool } from "../../server/spool/memory.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";

interface Rig extends AsyncDisposable {
  readonly state: string;
  close(): Promise<void>;
  readonly frozen: { readonly released: Promise<void>; how: Freeze["state"]; cuts: number };
}

const files: FrozenFile[] = Array.from(
  { length: 3000 },
  (_, i) => ({ name: `body/${i}`, octets: i, needed: "yes" }),
);

async function rig(): Promise<Rig> {
  const state = await Deno.makeTempDir({ prefix: "postrider-control-" });
  const { promise: released, resolve } = Promise.withResolvers<void>();
  const frozen: { released: Promise<void>; how: Freeze["state"]; cuts: number } = {
    released,
    how: "whole",
    cuts: 0,
  };
  const freeze = (): Freeze => ({
    cut() {
      frozen.cuts++;
      return Promise.resolve(files);
    },
    get state() {
      return frozen.how;
    },
    release: resolve,
  });
  const clock = new FakeClock();
  const queue = new LocalQueue(new MemorySpool(clock), clock, undefined, { freeze });
  const server = await ControlServer.open({ state, queue, clock: systemClock, log: memoryLog() });
  let closing: Promise<void> | undefined;
  return {
    state,
    frozen,
    close: () => closing ??= server.close(),
    async [Symbol.asyncDispose]() {
      await (closing ??= server.close());
      await Deno.remove(state, { recursive: true });
    },
  };
}

for (const how of ["whole", "thawed"] as const) {
  Deno.test(`freeze, over the socket: cut and released, ${how}`, async () => {
    await using made = await rig();
    const queue = await findServer(made.state);
    ok(queue !== "nobody");
    const frozen = await queue.freeze();
    deepEqual(await frozen.cut(), files);
    made.frozen.how = how;
    equal(await frozen.release(), how);
    equal(await frozen.release(), how);
    await made.frozen.released;
    equal(made.frozen.cuts, 1);
  });
}

Deno.test("freeze, over the socket: a command that is killed keeps nothing", async () => {
  await using made = await rig();
  const conn = await Deno.connect({ transport: "unix", path: controlPath(made.state) });
  await writeAll(conn, '{"do":"freeze"}\n');
  await conn.read(new Uint8Array(100));
  conn.close();
  await made.frozen.released;
});

Deno.test("freeze, over the socket: a server that stops waits for no one who copies, and says so", async () => {
  await using made = await rig();
  const queue = await findServer(made.state);
  ok(queue !== "nobody");
  const frozen = await queue.freeze();
  await made.close();
  await made.frozen.released;
  const said = await frozen.release().catch((error: Error) => error.message);
  ok(said !== "whole", said);
});
