/** The list of domains that something is kept of. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { DomainIndex } from "../../server/delivery/domain_index.ts";
import type { Json, Store } from "../../server/plugin.ts";
import { memoryStore } from "../../server/store.ts";
import { FakeClock } from "../../server/testing/clock.ts";

async function all(index: DomainIndex): Promise<string[]> {
  return (await Array.fromAsync(index.all())).sort();
}

Deno.test("domains are listed once, until they are taken out, also by who opens the store later", async () => {
  const stores = memoryStore(new FakeClock());
  const one = new DomainIndex(stores.for("x"), "a", "8d");
  const names = Array.from({ length: 200 }, (_, n) => `d${n}.example`).sort();
  await Promise.all([...names, ...names].map((name) => one.add(name)));
  deepEqual(await all(one), names);
  deepEqual(await all(new DomainIndex(stores.for("x"), "a", "8d")), names);
  deepEqual(await all(new DomainIndex(stores.for("x"), "b", "8d")), []);
  for (const name of names.slice(1)) await one.delete(name);
  deepEqual(await all(new DomainIndex(stores.for("x"), "a", "8d")), names.slice(0, 1));
});

Deno.test("what is too much for a bucket is left out: a value of the store stays under its limit, 256 KiB", async () => {
  const values = new Map<string, Json>();
  const unused = () => Promise.reject(new Error("not used"));
  const store: Store = {
    get: <T extends Json>(key: string) => Promise.resolve(values.get(key) as T | undefined),
    set: (key, value) => Promise.resolve(void values.set(key, value)),
    getOrSet: unused,
    increment: unused,
    delete: unused,
  };
  const index = new DomainIndex(store, "a", "8d");
  const longest = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(52)}`;
  for (let n = 0; n < 70_000; n++) await index.add(`${n}.${longest}`);
  const kept = [...values.values()] as string[][];
  ok(kept.flat().length > 40_000 && kept.flat().length < 70_000, String(kept.flat().length));
  ok(kept.every((bucket) => JSON.stringify(bucket).length < 256 * 1024));
});

Deno.test("a list that nobody changes any more goes", async () => {
  const clock = new FakeClock();
  const stores = memoryStore(clock);
  await new DomainIndex(stores.for("x"), "a", "8d").add("example.org");
  equal((await all(new DomainIndex(stores.for("x"), "a", "8d"))).length, 1);
  await clock.advance(9 * 864e5);
  deepEqual(await all(new DomainIndex(stores.for("x"), "a", "8d")), []);
});
