import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { systemClock } from "../server/clock.ts";
import { memoryStore, openStore, type Stores } from "../server/store.ts";
import { FakeClock } from "../server/testing/clock.ts";
import { storeContract } from "./contract/store.ts";

const day = { ttl: "1d" } as const;

/** A folder that goes with the test. */
function folder() {
  const path = Deno.makeTempDirSync({ prefix: "postrider-store-" });
  return {
    path,
    file: join(path, "store.db"),
    [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }),
  };
}

function disposable(stores: Stores, after: () => void = () => {}): Stores & AsyncDisposable {
  return {
    for: (name) => stores.for(name),
    close: () => stores.close(),
    async [Symbol.asyncDispose]() {
      await stores.close();
      after();
    },
  };
}

storeContract("memory", (clock) => Promise.resolve(disposable(memoryStore(clock))));
storeContract("durable", async (clock) => {
  const place = folder();
  return disposable(await openStore(place.file, clock), () => place[Symbol.dispose]());
});

Deno.test("memory store: what was used longest ago goes first", async () => {
  const stores = memoryStore(new FakeClock(), 3);
  const store = stores.for("test");
  for (const key of ["a", "b", "c"]) await store.set(key, key, day);
  await store.get("a");
  await stores.for("other").set("d", "d", day);
  deepEqual(await Promise.all(["a", "b", "c"].map((key) => store.get(key))), ["a", undefined, "c"]);
  equal(await stores.for("other").get("d"), "d");
});

Deno.test("memory store: its size is bounded too, and freed by what goes", async () => {
  const store = memoryStore(new FakeClock(), 1000, 10_000).for("test");
  for (let n = 0; n < 100; n++) await store.set(`k${n}`, "x".repeat(1000), day);
  const left = await Promise.all(Array.from({ length: 100 }, (_, n) => store.get(`k${n}`)));
  equal(left.filter((value) => value !== undefined).length, 9);
  for (let n = 0; n < 100; n++) await store.delete(`k${n}`);
  for (let n = 0; n < 9; n++) await store.set(`k${n}`, "x".repeat(1000), day);
  equal((await store.get<string>("k0"))?.length, 1000);
});

Deno.test("durable store: values and their ends outlive the process that set them", async () => {
  using place = folder();
  const clock = new FakeClock();
  const first = await openStore(place.file, clock);
  await first.for("a").set("k", { v: 1 }, { ttl: "10s" });
  await first.for("a").set("long", 2, day);
  await first.close();
  await clock.advance(9_000);
  const second = await openStore(place.file, clock);
  deepEqual(await second.for("a").get("k"), { v: 1 });
  await clock.advance(1_000);
  equal(await second.for("a").get("k"), undefined);
  equal(await second.for("a").get("long"), 2);
  await second.close();
});

Deno.test("Q01 durable store: what a resolved call stored survives kill -9", async () => {
  using place = folder();
  const program = `
    import { openStore } from "${new URL("../server/store.ts", import.meta.url)}";
    import { systemClock } from "${new URL("../server/clock.ts", import.meta.url)}";
    const stores = await openStore(${JSON.stringify(place.file)}, systemClock);
    const store = stores.for("test");
    for (let n = 1;; n++) {
      await store.increment("n", 1, { ttl: "1d" });
      console.log(n);
    }`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--ext=ts", program],
    cwd: new URL("..", import.meta.url),
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let told = "";
  const decoder = new TextDecoder();
  for await (const bytes of child.stdout) {
    told += decoder.decode(bytes, { stream: true });
    if (told.length > 200) {
      try {
        child.kill("SIGKILL");
      } catch { /* it is on its way out */ }
    }
  }
  await child.status;
  const acknowledged = Number(told.trim().split("\n").at(-1));
  const stores = await openStore(place.file, systemClock);
  const found = await stores.for("test").get<number>("n");
  await stores.close();
  ok(acknowledged > 50 && found !== undefined && found >= acknowledged, `${found} of ${acknowledged}`);
});

Deno.test("durable store: calls of one turn are one transaction", async () => {
  using place = folder();
  const stores = await openStore(place.file, new FakeClock());
  const store = stores.for("test");
  await store.set("warm", 1, day);
  await Promise.all(Array.from({ length: 500 }, (_, n) => store.set(`k${n}`, n, day)));
  const frames = Deno.statSync(`${place.file}-wal`).size;
  await stores.close();
  ok(frames < 200_000, `500 transactions would be over 2 MB, this is ${frames} bytes`);
});

Deno.test("durable store: expired rows leave the file, in slices", async () => {
  using place = folder();
  const clock = new FakeClock();
  const stores = await openStore(place.file, clock);
  const store = stores.for("test");
  await Promise.all(Array.from({ length: 1200 }, (_, n) => store.set(`k${n}`, n, { ttl: "1s" })));
  await store.set("kept", 1, day);
  const spy = new DatabaseSync(place.file);
  const rows = () => Number(spy.prepare("SELECT count(*) AS n FROM entry").get()!.n);
  equal(rows(), 1201);
  await clock.advance(60_000);
  for (let turn = 0; turn < 6; turn++) await store.get("kept"); // answered behind a slice each
  equal(rows(), 1);
  deepEqual(clock.pending, [60_000], "and it looks again in a minute");
  spy.close();
  await stores.close();
  deepEqual(clock.pending, []);
});

Deno.test("durable store: only its owner can read the file", async () => {
  using place = folder();
  const stores = await openStore(place.file, new FakeClock());
  await stores.for("test").set("k", 1, day);
  for (const entry of Deno.readDirSync(place.path)) {
    equal(Deno.statSync(join(place.path, entry.name)).mode! & 0o777, 0o600, entry.name);
  }
  await stores.close();
});

Deno.test("durable store: what can't be opened is named, and left as it is", async () => {
  using place = folder();
  const clock = new FakeClock();
  const noise = "this is no database. ".repeat(500);
  Deno.writeTextFileSync(place.file, noise);
  await rejects(openStore(place.file, clock), (error: Error) => {
    match(
      error.message,
      /^store .*store\.db is damaged \(file is not a database\): move it away and start again/,
    );
    return true;
  });
  equal(Deno.readTextFileSync(place.file), noise);
  await rejects(
    openStore(join(place.path, "no", "store.db"), clock),
    /store .*\/no\/store\.db can't be opened: /,
  );
  const newer = join(place.path, "newer.db");
  const database = new DatabaseSync(newer);
  database.exec("PRAGMA user_version = 7");
  database.close();
  await rejects(
    openStore(newer, clock),
    /newer\.db was written by another version \(format 7, this one reads 1\)/,
  );
  deepEqual(clock.pending, []);
});

Deno.test("Q03 durable store: a fault of the database rejects its calls, and the next ones work again", async () => {
  using place = folder();
  const stores = await openStore(place.file, new FakeClock());
  const store = stores.for("test");
  const saboteur = new DatabaseSync(place.file);
  saboteur.exec("ALTER TABLE entry RENAME TO gone");
  const failed = await Promise.allSettled([store.set("a", 1, day), store.increment("b", 1, day)]);
  for (const one of failed) {
    match(one.status === "rejected" ? one.reason.message : "", /^store .*store\.db: .*no such table/);
  }
  saboteur.exec("ALTER TABLE gone RENAME TO entry");
  equal(await store.increment("b", 1, day), 1);
  equal(await store.get("a"), undefined, "nothing of the failed transaction was kept");
  saboteur.close();
  await stores.close();
});
