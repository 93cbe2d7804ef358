import { deepStrictEqual as deepEqual, rejects, strictEqual as equal } from "node:assert/strict";
import { GroupSync } from "../../../plugins/maildir/group_sync.ts";

/** A sync whose runs end when the test says so. */
function held() {
  const runs: PromiseWithResolvers<void>[] = [];
  const group = new GroupSync(() => {
    const run = Promise.withResolvers<void>();
    runs.push(run);
    return run.promise;
  });
  return { group, runs };
}

Deno.test("whoever comes while a sync runs shares the next one, never the running one", async () => {
  const { group, runs } = held();
  const over: string[] = [];
  const first = group.done().then(() => over.push("first"));
  const later = ["a", "b", "c"].map((name) => group.done().then(() => over.push(name)));
  equal(runs.length, 1);
  runs[0]!.resolve();
  await first;
  deepEqual(over, ["first"]);
  equal(runs.length, 2);
  runs[1]!.resolve();
  await Promise.all(later);
  deepEqual(over, ["first", "a", "b", "c"]);
  equal(runs.length, 2);
});

Deno.test("a failed sync fails those who shared it, and nobody after them", async () => {
  const { group, runs } = held();
  const first = group.done();
  const second = group.done();
  runs[0]!.reject(new Error("EIO"));
  await rejects(first, /EIO/);
  runs[1]!.reject(new Error("EIO again"));
  await rejects(second, /EIO again/);
  const third = group.done();
  equal(runs.length, 3);
  runs[2]!.resolve();
  await third;
});

Deno.test("one that comes in the instant a sync ends gets a sync of its own", async () => {
  const { group, runs } = held();
  const first = group.done();
  runs[0]!.resolve();
  const second = group.done();
  await first;
  await Promise.resolve();
  equal(runs.length, 2);
  runs[1]!.resolve();
  await second;
});
