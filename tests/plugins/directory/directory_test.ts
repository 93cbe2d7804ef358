/** What was answered, and for how long it holds: the directory with a back end that the test plays. */
import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import { Directory, type Look, Unusable } from "../../../plugins/directory/directory.ts";
import { memoryStore } from "../../../server/store.ts";
import { FakeClock } from "../../../server/testing/clock.ts";
import { memoryLog } from "../../../server/testing/log.ts";

const usual = { yes: 60_000, no: 10_000, stale: 600_000 };
const alice = { local: "alice", domain: "example.org" };

function open(
  look: Look,
  more: {
    identity?: string;
    cache?: ReturnType<typeof memoryStore>;
    clock?: FakeClock;
    keep?: { yes: number; no: number; stale: number };
  } = {},
) {
  const { clock = new FakeClock(), identity = "x", keep = usual } = more;
  const cache = more.cache ?? memoryStore(clock);
  const log = memoryLog();
  const source = { about: "test: here", identity, timeout: 5000, look, close() {} };
  return { clock, log, cache, directory: new Directory(source, keep, { clock, log, cache: cache.for("x") }) };
}

Deno.test("directory: a yes and a no are kept as long as each is to be", async () => {
  let asked = 0;
  const { clock, directory } = open(({ local }) =>
    Promise.resolve(++asked && local === "alice" ? ["a", "b"] : undefined)
  );
  const nobody = { ...alice, local: "nobody" };
  deepEqual(await directory.find(alice), ["a", "b"]);
  equal(await directory.find(nobody), undefined);
  await directory.find(alice);
  await directory.find(nobody);
  equal(asked, 2);
  await clock.advance("9s");
  await directory.find(nobody);
  equal(asked, 2);
  await clock.advance("2s");
  await directory.find(nobody);
  equal(asked, 3);
  await directory.find(alice);
  equal(asked, 3);
  await clock.advance("50s");
  deepEqual(await directory.find(alice), ["a", "b"]);
  equal(asked, 4);
});

Deno.test("directory: while nobody answers a yes stands, a no doesn't, and each of it is said", async () => {
  let fails = false;
  const { clock, log, directory } = open(({ local }) =>
    fails
      ? Promise.reject(new Error("test: here is down"))
      : Promise.resolve(local === "alice" ? [] : undefined)
  );
  const nobody = { ...alice, local: "nobody" };
  await directory.find(alice);
  await directory.find(nobody);
  fails = true;
  await clock.advance("2m");
  deepEqual(await directory.find(alice), []);
  deepEqual(log.entries.map(({ level, fields }) => [level, fields["error"]]), [[
    "warning",
    "test: here is down",
  ]]);
  await clock.advance("2s");
  await rejects(directory.find(nobody), /is down/);
  await rejects(directory.find({ ...alice, local: "new" }), /is down/);
  await clock.advance("9m");
  await rejects(directory.find(alice), /is down/, "it is too old");
  fails = false;
  await clock.advance("1s");
  deepEqual(await directory.find(alice), []);
});

Deno.test("directory: what many wait for is asked once, and who fails is left in peace for a second", async () => {
  let asked = 0;
  const answer = Promise.withResolvers<readonly string[]>();
  const { clock, directory } = open(() => (asked++, answer.promise));
  const all = [1, 2, 3].map(() => directory.find(alice));
  await clock.advance("1ms");
  equal(asked, 1);
  answer.reject(new Error("broken"));
  for (const one of all) await rejects(one, /broken/);
  await rejects(directory.find(alice), /broken/);
  equal(asked, 1);
  await clock.advance("1s");
  await rejects(directory.find(alice), /broken/);
  equal(asked, 2);
});

Deno.test("directory: what one entry says wrong is that entry's fault alone", async () => {
  const { directory } = open(({ local }) =>
    local === "bad" ? Promise.reject(new Unusable("has no list")) : Promise.resolve(["x"])
  );
  await rejects(directory.find({ ...alice, local: "bad" }), /no list/);
  deepEqual(await directory.find(alice), ["x"]);
});

Deno.test("directory: who doesn't answer in time has failed, and hears that nobody waits", async () => {
  let given: AbortSignal | undefined;
  const { clock, directory } = open((_name, signal) => {
    given = signal;
    return new Promise<never>(() => {});
  });
  const found = directory.find(alice);
  found.catch(() => {});
  await clock.advance("5s");
  await rejects(found, /no answer within 5000 ms/);
  match(String(given!.reason), /no answer/);
});

Deno.test("directory: after a reload another source doesn't answer with what the last one said", async () => {
  const one = open(() => Promise.resolve(["one"]));
  deepEqual(await one.directory.find(alice), ["one"]);
  const other = open(() => Promise.resolve(["other"]), { ...one, identity: "y" });
  deepEqual(await other.directory.find(alice), ["other"]);
  const same = open(() => Promise.reject(new Error("not asked")), one);
  deepEqual(await same.directory.find(alice), ["one"]);
});

Deno.test("directory: answers may be long, and may be kept for weeks or not at all", async () => {
  const long = Array.from({ length: 8000 }, (_, at) => `${at} ${"x".repeat(40)}`);
  for (const days of [0, 40]) {
    for (const found of [["a"], long]) {
      let asked = 0;
      const age = days * 86_400_000;
      const { clock, directory } = open(() => Promise.resolve(asked++ < 1 ? found : undefined), {
        keep: { yes: age, no: 0, stale: 0 },
      });
      deepEqual(await directory.find(alice), found);
      await clock.advance("39d");
      deepEqual(await directory.find(alice), days === 0 ? undefined : found);
      equal(asked, days === 0 ? 2 : 1);
    }
  }
});
