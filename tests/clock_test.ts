import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { systemClock } from "../server/clock.ts";
import { FakeClock } from "../server/testing/clock.ts";
import { clockContract } from "./contract/clock.ts";

clockContract("system", () => ({ clock: systemClock, pass: (ms) => systemClock.sleep(ms) }));
clockContract("fake", () => {
  const clock = new FakeClock();
  return { clock, pass: (ms) => clock.advance(ms) };
});

Deno.test("fake clock: stands still until it is advanced, then each timer sees its own moment", async () => {
  const clock = new FakeClock(1000);
  equal(clock.now(), 1000);
  const seen: number[] = [];
  clock.after(500, () => seen.push(clock.now()));
  clock.after(200, () => seen.push(clock.now()));
  deepEqual(clock.pending, [200, 500]);
  await clock.advance(499);
  deepEqual(seen, [1200]);
  deepEqual(clock.pending, [1]);
  await clock.advance(1);
  deepEqual(seen, [1200, 1500]);
  equal(clock.now(), 1500);
});

Deno.test("fake clock: timers of the same moment run in the order they were set", async () => {
  const clock = new FakeClock();
  const ran: number[] = [];
  for (const n of [1, 2, 3]) clock.after(10, () => ran.push(n));
  await clock.advance(10);
  deepEqual(ran, [1, 2, 3]);
});

Deno.test("fake clock: what a woken promise sets for later is run in the same advance", async () => {
  const clock = new FakeClock(0);
  const seen: number[] = [];
  const working = (async () => {
    for (let round = 0; round < 4; round++) {
      await clock.sleep(100);
      await Promise.resolve().then(() => seen.push(clock.now()));
    }
  })();
  await clock.advance(350);
  deepEqual(seen, [100, 200, 300]);
  await clock.advance(50);
  await working;
  deepEqual(seen, [100, 200, 300, 400]);
});

Deno.test("Q04 fake clock: a step moves the wall clock alone", async () => {
  const clock = new FakeClock();
  const [wall, monotonic] = [clock.now(), clock.monotonic()];
  let ran = false;
  clock.after(1000, () => ran = true);
  clock.step(-86_400_000);
  equal(clock.now(), wall - 86_400_000);
  equal(clock.monotonic(), monotonic);
  clock.step(2 * 86_400_000);
  await clock.advance(999);
  equal(ran, false);
  await clock.advance(1);
  equal(ran, true);
  equal(clock.now(), wall + 86_400_000 + 1000);
});

Deno.test("fake clock: untilPending waits for code that has yet to set its timer", async () => {
  const clock = new FakeClock();
  const set = (async () => {
    await new Promise((resolve) => setTimeout(resolve, 0));
    await clock.sleep(10);
  })();
  await clock.untilPending(1);
  await clock.advance(10);
  await set;
  deepEqual(clock.pending, []);
});

Deno.test("fake clock: an aborted sleep is pending no more", async () => {
  const clock = new FakeClock();
  const controller = new AbortController();
  const asleep = clock.sleep(10, controller.signal).catch((reason) => reason);
  controller.abort("gone");
  equal(await asleep, "gone");
  deepEqual(clock.pending, []);
});

Deno.test("system clock: waits of whole seconds share a timer, and each is over at its own time", async () => {
  const ran: string[] = [];
  const begun = performance.now();
  const { promise, resolve } = Promise.withResolvers<void>();
  const note = (name: string, least: number) => () => {
    ok(performance.now() - begun >= least - 1, `${name} is early`);
    ran.push(name);
  };
  systemClock.after(2000, () => {
    note("third", 2000)();
    resolve();
  });
  const cancelled = systemClock.after(1000, note("cancelled", 1000));
  systemClock.after(1000, note("first", 1000));
  systemClock.after(1000, note("second", 1000));
  const never = systemClock.after(60_000, note("never", 60_000));
  cancelled();
  cancelled();
  await promise;
  never(); // or the sanitizer finds the timer
  deepEqual(ran, ["first", "second", "third"]);
});

Deno.test("system clock: of two waits that are over together, the first may cancel the second", async () => {
  let ran = 0;
  await new Promise<void>((resolve) => {
    systemClock.after(1000, () => {
      ran++;
      second();
    });
    const second = systemClock.after(1000, () => ran++);
    systemClock.after(1000, resolve);
    const busy = performance.now() + 1100; // so that all three are over when the timer runs
    while (performance.now() < busy);
  });
  equal(ran, 1);
});

Deno.test("system clock: a wait set within another one's callback, and a shorter one after a longer", async () => {
  const ran: string[] = [];
  const far = systemClock.after(30_000, () => ran.push("far"));
  await new Promise<void>((resolve) => {
    systemClock.after(1000, () => {
      ran.push("near");
      systemClock.after(1000, () => {
        ran.push("within");
        resolve();
      });
    });
  });
  far();
  deepEqual(ran, ["near", "within"]);
});
