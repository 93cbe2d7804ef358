import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import {
  afterDeferral,
  longestAhead,
  nextAttempt,
  parseRetry,
  type RetryPolicy,
  type Schedule,
} from "../../server/delivery/schedule.ts";

const [second, minute, hour, day] = [1000, 60_000, 3_600_000, 86_400_000];
const middle = () => 0.5;

function schedule(...texts: string[]): Schedule {
  const read = parseRetry(texts);
  if (typeof read === "string") throw new Error(read);
  return read;
}

function policy(giveUpAfter: number, ...texts: string[]): RetryPolicy {
  return { schedule: schedule(...texts), giveUpAfter, delayNoticeAfter: 4 * hour };
}

const usual = policy(5 * day, "1m", "5m x2", "15m x4", "1h x8", "4h");

/** Fails until it is given up; the ages of the attempts. */
function attemptsOf(policy: RetryPolicy, random = middle): number[] {
  const ages: number[] = [];
  for (let age = 0;;) {
    ages.push(age);
    const verdict = afterDeferral(policy, { age, attempts: ages.length }, random);
    if (verdict.kind === "give up") return ages;
    age += verdict.after;
  }
}

Deno.test("retry: the design's schedule is read, and its last wait repeats", () => {
  const { waits } = usual.schedule;
  deepEqual(waits, [
    minute,
    ...Array(2).fill(5 * minute),
    ...Array(4).fill(15 * minute),
    ...Array(8).fill(hour),
    4 * hour,
  ]);
  equal(nextAttempt(usual.schedule, 1, middle), minute);
  equal(nextAttempt(usual.schedule, 3, middle), 5 * minute);
  equal(nextAttempt(usual.schedule, 16, middle), 4 * hour);
  equal(nextAttempt(usual.schedule, 999, middle), 4 * hour);
});

for (
  const [texts, problem] of [
    [[], /^needs at least one wait, such as "5m"$/],
    [["5 m"], /^"5 m" is not a wait such as 5m, or 5m x2 for twice: did you mean "5m"\?$/],
    [["5min"], /did you mean "5m"\?$/],
    [["5 minutes"], /did you mean "5m"\?$/],
    [["1hour"], /did you mean "1h"\?$/],
    [["30 seconds"], /did you mean "30s"\?$/],
    [["5"], /did you mean "5m"\?$/],
    [["5mx2"], /did you mean "5m x2"\?$/],
    [["5m * 2"], /did you mean "5m x2"\?$/],
    [["2x 5m"], /did you mean "5m x2"\?$/],
    [["5M"], /did you mean "5m"\?$/],
    [["soon"], /^"soon" is not a wait such as 5m, or 5m x2 for twice$/],
    [["1m", "1e3m"], /^"1e3m" is not a wait/],
    [["0m"], /must be more than nothing$/],
    [["5m x0"], /would be waited never/],
    [["5m x1001"], /at most x1000$/],
    [["8d"], /at most 7d$/],
  ] as const
) {
  Deno.test(`retry: ${JSON.stringify(texts)} is refused with advice`, () => {
    const read = parseRetry(texts);
    if (typeof read !== "string") throw new Error("it was taken");
    match(read, problem);
  });
}

Deno.test("retry: what is advised instead is always something that can be read", () => {
  fc.assert(fc.property(
    fc.tuple(
      fc.nat(2000),
      fc.constantFrom("", " "),
      fc.stringMatching(/^[a-z]{0,7}$/),
      fc.constantFrom("", "x2", " x 3", "*4"),
    ),
    (parts) => {
      const read = parseRetry([parts.join("")]);
      const advice = typeof read === "string" ? /did you mean "(.*)"\?$/.exec(read)?.[1] : undefined;
      if (advice === undefined) return;
      const again = parseRetry([advice]);
      // The number can still be nothing or too much; the form is right.
      if (typeof again === "string") ok(!again.includes("is not a wait"), again);
    },
  ));
});

Deno.test("retry: waits are spread by at most a twentieth either way", () => {
  fc.assert(fc.property(fc.nat(40), fc.double({ min: 0, max: 0.999999, noNaN: true }), (attempts, chance) => {
    const exact = nextAttempt(usual.schedule, attempts, middle);
    const drawn = nextAttempt(usual.schedule, attempts, () => chance);
    ok(drawn >= exact * 0.949 && drawn <= exact * 1.051);
    ok(drawn <= longestAhead(usual.schedule));
  }));
});

Deno.test("expiry: five days of failures end with an attempt just after the fifth day", () => {
  const ages = attemptsOf(usual);
  ok(ages.at(-1)! > 5 * day && ages.at(-1)! < 5 * day + minute);
  ok(ages.at(-2)! <= 5 * day);
  equal(ages.length, 44);
});

Deno.test("Q04: age alone gives nothing up: five attempts are needed, one of them after the moment", () => {
  for (let attempts = 1; attempts < 5; attempts++) {
    equal(afterDeferral(usual, { age: 400 * day, attempts }, middle).kind, "again");
  }
  equal(afterDeferral(usual, { age: 400 * day, attempts: 5 }, middle).kind, "give up");
  equal(afterDeferral(usual, { age: 5 * day, attempts: 500 }, middle).kind, "again", "not after the moment");
});

Deno.test("expiry: a giveUpAfter shorter than five waits needs only its last attempt", () => {
  deepEqual(attemptsOf(policy(second, "1h")), [0, second + 1]);
  deepEqual(attemptsOf(policy(3 * minute, "1m")), [0, minute, 2 * minute, 3 * minute, 3 * minute + 1]);
  // Five waits are over: five attempts it is.
  equal(attemptsOf(policy(minute, "1s")).length, 62);
});

Deno.test("expiry: whatever the policy, mail is given up, after the moment, and never waits past twice its wait", () => {
  const wait = fc.tuple(
    fc.integer({ min: 1, max: 500 }),
    fc.constantFrom("s", "m", "h"),
    fc.integer({ min: 1, max: 5 }),
  );
  fc.assert(
    fc.property(
      fc.array(wait, { minLength: 1, maxLength: 5 }).map((waits) =>
        waits.map(([n, unit, x]) => `${n}${unit} x${x}`)
      ),
      fc.integer({ min: 1, max: 30 * hour }),
      fc.double({ min: 0, max: 0.999999, noNaN: true }),
      (texts, giveUpAfter, chance) => {
        const read = parseRetry(texts);
        if (typeof read === "string") return; // over 7d
        const ages = attemptsOf({ schedule: read, giveUpAfter, delayNoticeAfter: hour }, () => chance);
        ok(ages.at(-1)! > giveUpAfter);
        for (const [i, age] of ages.slice(1).entries()) {
          ok(age > ages[i]! && age - ages[i]! <= longestAhead(read) + 1);
        }
      },
    ),
    { numRuns: 50 },
  );
});
