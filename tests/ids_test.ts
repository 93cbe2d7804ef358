import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { systemClock } from "../server/clock.ts";
import { openIds } from "../server/ids.ts";
import { countingIds } from "../server/testing/ids.ts";

function many(count: number, next: () => string): string[] {
  return Array.from({ length: count }, next);
}

Deno.test("ids: 100,000 differ while the clock stands still, and sort by when they were made", () => {
  const ids = openIds({ now: () => 1_795_298_400_000 });
  const made = many(100_000, () => ids.message());
  equal(new Set(made).size, made.length);
  deepEqual([...made].sort(), made);
});

Deno.test("ids: 100,000 differ on the system's clock", () => {
  const ids = openIds(systemClock);
  equal(new Set(many(100_000, () => ids.session())).size, 100_000);
});

Deno.test("ids: a session and a message never share one", () => {
  const ids = openIds({ now: () => 5 });
  const made = many(1000, () => ids.session()).concat(many(1000, () => ids.message()));
  equal(new Set(made).size, 2000);
});

Deno.test("Q04 ids: after the clock steps back they go on from where they were", () => {
  let now = 1_795_298_400_000;
  const ids = openIds({ now: () => now });
  const before = many(10, () => ids.message());
  now -= 3_600_000;
  const during = many(5000, () => ids.message());
  now += 3_600_000;
  const after = many(10, () => ids.message());
  const all = [...before, ...during, ...after];
  equal(new Set(all).size, all.length);
  deepEqual([...all].sort(), all);
});

Deno.test("ids: another process at the same moment makes others", () => {
  const clock = { now: () => 1_795_298_400_000 };
  const [one, two] = [openIds(clock, 1), openIds(clock, 2)];
  equal(new Set([...many(1000, () => one.message()), ...many(1000, () => two.message())]).size, 2000);
  ok(openIds(clock).message() !== openIds(clock).message(), "the random number is drawn anew");
});

Deno.test("ids: 16 characters that are safe in names of files, headers and URLs, with the time in front", () => {
  const ids = openIds({ now: () => 1_795_298_400_000.75 }, 2 ** 25 - 1);
  match(ids.message(), /^[0-9A-HJKMNP-TV-Z]{11}ZZZZZ$/);
  const time = [...ids.message().slice(0, 9)].reduce(
    (sum, digit) => sum * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".indexOf(digit),
    0,
  );
  equal(time, 1_795_298_400_000);
  ok(ids.message() !== ids.message(), "a clock with fractions makes no id twice");
});

Deno.test("ids: a frozen second followed by a running one keeps order", () => {
  let now = 1000;
  const ids = openIds({ now: () => now });
  const made = many(3000, () => ids.message()); // borrows two milliseconds
  for (let step = 0; step < 10; step++) {
    now++;
    made.push(ids.message());
  }
  equal(new Set(made).size, made.length);
  deepEqual([...made].sort(), made);
});

Deno.test("ids: those of tests count", () => {
  const ids = countingIds();
  deepEqual([ids.session(), ids.message(), ids.message()], ["S0001", "M0001", "M0002"]);
});
