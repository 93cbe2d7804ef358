/** The fuzzers themselves: each target holds for a few hundred tries, and what is broken is found and shown. */
import { ok, strictEqual as equal } from "node:assert/strict";
import { mustBeLinear } from "./fuzz/linear.ts";
import { mutated, shortened, written } from "./fuzz/mutate.ts";
import { latin1, octets, type Target } from "./fuzz/target.ts";
import { closeServer } from "./fuzz/targets/connection.ts";
import { targets } from "./fuzz/targets/mod.ts";
import { tried } from "./fuzz/tries.ts";
import { Random } from "./spool/random.ts";

for (const target of targets) {
  Deno.test(`fuzz: ${target.name}: ${target.holds}`, async () => {
    try {
      // From 1 on: what takes time (every 400th try) is for `deno task fuzz`.
      for (let seed = 1; seed <= 150; seed++) {
        const failure = await tried(target, seed);
        equal(failure, undefined, failure && `${failure.message}: seed ${seed}, ${failure.input}`);
      }
    } finally {
      if (target.name === "connection") await closeServer();
    }
  });
}

Deno.test("fuzz: what goes wrong is found, made short, and comes again with its seed", async () => {
  const broken: Target = {
    name: "broken",
    holds: "nothing",
    seeds: [octets("MAIL FROM:<a@b.test>\r\nBDAT 5 LAST\r\nhello")],
    try(input) {
      if (latin1(input).includes("T 5 L")) throw new Error("found");
    },
  };
  for (const seed of [1, 1]) {
    const failure = await tried(broken, seed);
    equal(failure?.message, "found");
    equal(failure?.input, '"T 5 L"');
  }
});

Deno.test("fuzz: quadratic time is found, linear time is not", () => {
  const seeds = [octets("a")];
  const steps = (work: (input: Uint8Array) => void): Target => ({
    name: "x",
    holds: "x",
    seeds,
    try() {},
    work,
  });
  let sum = 0;
  const linear = steps((input) => {
    for (let round = 0; round < 200; round++) for (const octet of input) sum += octet;
  });
  mustBeLinear(linear, new Random(1));
  const quadratic = steps((input) => {
    for (let at = 0; at < input.length; at += 32) for (const octet of input.subarray(at)) sum += octet;
  });
  let said = "";
  try {
    mustBeLinear(quadratic, new Random(1));
  } catch (error) {
    said = (error as Error).message;
  }
  ok(said.startsWith("time grows faster than the input"), `${said}${sum < 0}`);
});

Deno.test("fuzz: the same seed makes the same input, another another", () => {
  const input = (seed: number) => written(mutated(targets[0]!.seeds, new Random(seed)));
  equal(input(7), input(7));
  ok(new Set(Array.from({ length: 20 }, (_, seed) => input(seed))).size > 15);
});

Deno.test("fuzz: what is left out while the failure stays is left out", async () => {
  const short = await shortened(
    octets("aaaXaaaaYaaa"),
    (bytes) => Promise.resolve(/X.*Y/.test(latin1(bytes))),
  );
  equal(latin1(short), "XY");
});
