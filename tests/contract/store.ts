/** What every store owes. */
import { deepStrictEqual as deepEqual, rejects, strictEqual as equal, throws } from "node:assert/strict";
import fc from "fast-check";
import type { Json, Store } from "../../server/plugin.ts";
import type { Stores } from "../../server/store.ts";
import { FakeClock } from "../../server/testing/clock.ts";

const day = { ttl: "1d" } as const;

export function storeContract(
  kind: string,
  open: (clock: FakeClock) => Promise<Stores & AsyncDisposable>,
): void {
  const test = (name: string, body: (store: Store, clock: FakeClock, stores: Stores) => Promise<void>) =>
    Deno.test(`${kind} store: ${name}`, async () => {
      const clock = new FakeClock();
      await using stores = await open(clock);
      await body(stores.for("test"), clock, stores);
    });

  test("what is set is got, until it is deleted or set anew", async (store) => {
    equal(await store.get("k"), undefined);
    await store.set("k", 1, day);
    equal(await store.get("k"), 1);
    await store.set("k", "two", day);
    equal(await store.get("k"), "two");
    await store.delete("k");
    await store.delete("k");
    equal(await store.get("k"), undefined);
  });

  test("any JSON comes back as it was", async (store) => {
    const values: Json[] = [null, false, 0, -1.5e300, "", "\0\n\ud800é😀", [], {}, [[1], { a: [null] }]];
    values.push(JSON.parse('{"__proto__":{"x":1},"constructor":2}'));
    for (const [index, value] of values.entries()) await store.set(`${index}`, value, day);
    for (const [index, value] of values.entries()) deepEqual(await store.get(`${index}`), value);
  });

  test("any key and JSON value, by property", async (store) => {
    const key = fc.string({ unit: "grapheme", maxLength: 100 });
    await fc.assert(
      fc.asyncProperty(key, fc.jsonValue(), async (key, value) => {
        await store.set(key, value as Json, day);
        deepEqual(await store.get(key), JSON.parse(JSON.stringify(value)));
      }),
      { numRuns: 50 },
    );
  });

  test("a value that is changed after it was set or got is not changed inside", async (store) => {
    const value = { list: [1] };
    await store.set("k", value, day);
    value.list.push(2);
    (await store.get<{ list: number[] }>("k"))!.list.push(3);
    deepEqual(await store.get("k"), { list: [1] });
  });

  test("names are apart, whatever their keys hold", async (_, __, stores) => {
    const [a, ab] = [stores.for("a"), stores.for("a b")];
    await a.set("b k", 1, day);
    await ab.set("k", 2, day);
    await a.set("\0k", 3, day);
    deepEqual([await a.get("b k"), await ab.get("k"), await a.get("k"), await a.get("\0k")], [
      1,
      2,
      undefined,
      3,
    ]);
    equal(await stores.for("a").get("b k"), 1);
    throws(() => stores.for("a\0b"), /NUL/);
  });

  test("a value is gone at the moment its ttl is over", async (store, clock) => {
    await store.set("k", 1, { ttl: "30s" });
    await clock.advance(29_999);
    equal(await store.get("k"), 1);
    await clock.advance(1);
    equal(await store.get("k"), undefined);
    equal(await store.getOrSet("k", 2, { ttl: "30s" }), 2);
    equal(await store.get("k"), 2);
  });

  test("getOrSet keeps the first value and its end", async (store, clock) => {
    equal(await store.getOrSet("k", "first", { ttl: "10s" }), "first");
    await clock.advance(9_000);
    equal(await store.getOrSet("k", "second", { ttl: "1h" }), "first");
    await clock.advance(1_000);
    equal(await store.getOrSet("k", "third", { ttl: "10s" }), "third");
  });

  test("a stored null is a value", async (store) => {
    equal(await store.getOrSet<Json>("k", null, day), null);
    equal(await store.getOrSet<Json>("k", 1, day), null);
  });

  test("increment counts from 0, and its ttl runs from the first", async (store, clock) => {
    equal(await store.increment("n", 1, { ttl: "10s" }), 1);
    await clock.advance(9_000);
    equal(await store.increment("n", 2, { ttl: "10s" }), 3);
    await clock.advance(1_000);
    equal(await store.increment("n", -1.5, { ttl: "10s" }), -1.5);
    equal(await store.get("n"), -1.5);
  });

  test("increment and getOrSet are atomic", async (store) => {
    const sums = await Promise.all(Array.from({ length: 100 }, () => store.increment("n", 1, day)));
    deepEqual(sums.sort((a, b) => a - b), Array.from({ length: 100 }, (_, n) => n + 1));
    const firsts = await Promise.all(
      Array.from({ length: 50 }, (_, n) => store.getOrSet<number>("first", n, day)),
    );
    equal(new Set(firsts).size, 1);
  });

  test("what can't be done rejects, says why, and disturbs no other request", async (store) => {
    await store.set("text", "x", day);
    const good = store.increment("n", 1, day);
    await rejects(store.increment("text", 1, day), /"text" can't be incremented: .*not a number/);
    equal(await good, 1);
    equal(await store.get("text"), "x");
    await rejects(store.increment("n", NaN, day), TypeError);
    await store.set("big", Number.MAX_VALUE, day);
    await rejects(store.increment("big", Number.MAX_VALUE, day), /beyond/);
    await rejects(store.set("k", undefined as unknown as Json, day), /no JSON form/);
    await rejects(store.set("k", Infinity, day), /no JSON form/);
    await rejects(store.set("k", 1, { ttl: "1.5h" }), /ttl: "1\.5h" is not a duration such as/);
    await rejects(store.set("k", "x".repeat(300_000), day), RangeError);
    await rejects(store.set("k".repeat(2000), 1, day), RangeError);
    equal(await store.get("k"), undefined);
  });

  test("requests of one caller are answered in the order they were made", async (store) => {
    const all = [
      store.set("k", 1, day),
      store.get("k"),
      store.set("k", 2, day),
      store.get("k"),
      store.delete("k"),
    ];
    deepEqual((await Promise.all(all)).slice(0, 4), [undefined, 1, undefined, 2]);
    equal(await store.get("k"), undefined);
  });

  test("after close everything rejects, closing twice is harmless", async (store, _, stores) => {
    const set = store.set("k", 1, day);
    await stores.close();
    await set;
    await stores.close();
    await rejects(store.get("k"), /closed/);
  });
}
