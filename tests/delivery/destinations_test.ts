import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { Destinations } from "../../server/delivery/destinations.ts";
import { hour, minute, refused } from "./rig.ts";

const middle = () => 0.5;

function make(total = 200, perDestination = 20) {
  return new Destinations<string>({ total, perDestination }, middle);
}

/** Takes all slots that are to be had. */
function takeAll(destinations: Destinations<string>): string[] {
  const taken: string[] = [];
  for (let one = destinations.next(); one !== undefined; one = destinations.next()) taken.push(one);
  return taken;
}

Deno.test("destinations take turns", () => {
  const destinations = make(3);
  for (const name of ["a", "b", "c"]) for (let i = 1; i <= 3; i++) destinations.add(name, `${name}${i}`);
  deepEqual(takeAll(destinations), ["a1", "b1", "c1"]);
  destinations.free("b");
  equal(destinations.next(), "a2");
  destinations.free("a");
  equal(destinations.next(), "b2");
});

Deno.test("a destination begins with five, and gets one more for each success", () => {
  const destinations = make();
  for (let i = 0; i < 100; i++) destinations.add("a", `${i}`);
  equal(takeAll(destinations).length, 5);
  for (let i = 0; i < 3; i++) destinations.reached("a");
  equal(takeAll(destinations).length, 3);
  for (let i = 0; i < 100; i++) destinations.reached("a");
  equal(takeAll(destinations).length, 12);
  equal(destinations.active, 20);
  equal(destinations.waiting, 80);
});

Deno.test("O07: destinations that hang leave slots to others", () => {
  const destinations = make(20, 20);
  for (let d = 0; d < 7; d++) {
    for (let i = 0; i < 10; i++) destinations.add(`hangs${d}`, `${d}`);
    takeAll(destinations);
  }
  equal(destinations.active, 19);
  destinations.add("new", "mine");
  equal(destinations.next(), "mine");
});

Deno.test("three failed connections in a row: a sleep of a minute, then two, up to an hour; a success ends it", () => {
  const destinations = make();
  let now = 1000;
  equal(destinations.unreachable("a", now, refused), undefined);
  equal(destinations.unreachable("a", now, refused), undefined);
  destinations.reached("a");
  equal(destinations.unreachable("a", now, refused), undefined);
  equal(destinations.unreachable("a", now, refused), undefined);
  const lengths: number[] = [];
  for (let i = 0; i < 9; i++) {
    const sleep = destinations.unreachable("a", now, refused)!;
    lengths.push(sleep.until - now);
    equal(
      destinations.unreachable("a", now + 1, refused),
      undefined,
      "one that was under way says nothing new",
    );
    equal(destinations.sleepOf("a", now + 1), sleep);
    now = sleep.until;
    equal(destinations.sleepOf("a", now), undefined);
  }
  deepEqual(lengths, [1, 2, 4, 8, 16, 32, 60, 60, 60].map((minutes) => minutes * minute));
  destinations.reached("a");
  for (let i = 0; i < 2; i++) equal(destinations.unreachable("a", now, refused), undefined);
  equal(destinations.unreachable("a", now, refused)!.until - now, minute);
});

Deno.test("after a sleep there is one attempt, until it succeeds", () => {
  const destinations = make();
  for (let i = 0; i < 10; i++) destinations.add("a", `${i}`);
  equal(takeAll(destinations).length, 5);
  for (let i = 0; i < 3; i++) destinations.unreachable("a", 0, refused);
  deepEqual(destinations.drain("a"), ["5", "6", "7", "8", "9"]);
  for (let i = 0; i < 5; i++) destinations.free("a");
  for (let i = 0; i < 10; i++) destinations.add("a", `${i}`);
  deepEqual(takeAll(destinations), ["0"]);
  destinations.reached("a");
  deepEqual(takeAll(destinations), ["1"]);
});

Deno.test("those that sleep are shown, and roused", () => {
  const destinations = make();
  for (let i = 0; i < 3; i++) destinations.unreachable("a", 0, refused);
  deepEqual(destinations.asleep(1).map(({ destination, why }) => [destination, why.reply]), [[
    "a",
    refused.reply,
  ]]);
  destinations.rouse();
  deepEqual(destinations.asleep(1), []);
});

Deno.test("a million domains that never answer don't fill the memory", () => {
  const destinations = make();
  for (let i = 0; i < 100_000; i++) {
    destinations.add(`d${i}`, "x");
    destinations.next();
    destinations.unreachable(`d${i}`, hour, refused);
    destinations.free(`d${i}`);
  }
  equal(destinations.active, 0);
  ok(destinations.known <= 20_000, `${destinations.known} are remembered`);
});

Deno.test("slots: never over the limits, none lost, and everybody gets one in the end", () => {
  const step = fc.oneof(
    fc.record({ add: fc.nat(5) }),
    fc.record({ free: fc.nat(50) }),
    fc.record({ reached: fc.nat(5) }),
    fc.record({ unreachable: fc.nat(5) }),
  );
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 12 }),
    fc.integer({ min: 1, max: 12 }),
    fc.array(step, { maxLength: 200 }),
    (total, perDestination, steps) => {
      const destinations = make(total, perDestination);
      const active: string[] = [];
      let added = 0, taken = 0;
      const take = () => {
        for (let one = destinations.next(); one !== undefined; one = destinations.next()) {
          active.push(one);
          taken++;
          ok(active.length <= total);
          ok(active.filter((other) => other === one).length <= perDestination);
        }
      };
      for (const [i, one] of steps.entries()) {
        if ("add" in one) {
          destinations.add(`${one.add}`, `${one.add}`);
          added++;
        } else if ("reached" in one) destinations.reached(`${one.reached}`);
        else if ("unreachable" in one) destinations.unreachable(`${one.unreachable}`, i * hour, refused);
        else if (active.length > 0) destinations.free(active.splice(one.free % active.length, 1)[0]!);
        take();
        equal(destinations.active, active.length);
        equal(destinations.waiting, added - taken);
        ok(active.length > 0 || destinations.waiting === 0, "nobody waits for nothing");
      }
      while (active.length > 0) {
        destinations.free(active.pop()!);
        take();
      }
      equal(taken, added);
    },
  ));
});
