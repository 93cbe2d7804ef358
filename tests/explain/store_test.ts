import { strictEqual as equal } from "node:assert/strict";
import { join } from "node:path";
import { systemClock } from "../../server/clock.ts";
import { storesOver } from "../../server/explain/store.ts";
import { memoryStore, openStore } from "../../server/store.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { storeContract } from "../contract/store.ts";

const day = { ttl: "1d" } as const;

storeContract("dry run", (clock) => {
  const base = memoryStore(clock);
  const stores = storesOver(base, clock);
  return Promise.resolve({
    for: (name) => stores.for(name),
    close: () => stores.close(),
    async [Symbol.asyncDispose]() {
      await stores.close();
      await base.close();
    },
  });
});

Deno.test("dry run store: what lies below is seen and never touched", async () => {
  const clock = new FakeClock();
  const base = memoryStore(clock);
  const below = base.for("greylist");
  for (const key of ["read", "set", "sum", "gone", "null"]) await below.set(key, 1, day);
  const store = storesOver(base, clock).for("greylist");
  equal(await store.get("read"), 1);
  equal(await store.getOrSet("read", 5, day), 1);
  await store.set("set", 2, day);
  equal(await store.increment("sum", 5, day), 6);
  equal(await store.increment("sum", 5, day), 11);
  await store.delete("gone");
  await store.set("null", null, day);
  equal(await store.get("set"), 2);
  equal(await store.get("gone"), undefined);
  equal(await store.get("null"), null);
  for (const key of ["read", "set", "sum", "gone", "null"]) equal(await below.get(key), 1, key);
});

Deno.test("dry run store: a database is read beside its server and without one; nothing is put beside it", async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "store.db");
  const server = await openStore(path, systemClock);
  await server.for("p").set("k", "v", day);
  const beside = await openStore(path, systemClock, "read");
  equal(await beside.for("p").get("k"), "v");
  let refused = "";
  await beside.for("p").set("k", "w", day).catch((error) => refused = error.message);
  equal(/readonly/i.test(refused), true, refused);
  await beside.close();
  await server.close();
  const before = await Deno.readFile(path);
  const alone = await openStore(path, systemClock, "read");
  equal(await alone.for("p").get("k"), "v");
  await alone.close();
  equal([...Deno.readDirSync(folder)].map(({ name }) => name).join(), "store.db");
  equal(before.every((byte, i) => byte === Deno.readFileSync(path)[i]), true);
  await Deno.remove(folder, { recursive: true });
});
