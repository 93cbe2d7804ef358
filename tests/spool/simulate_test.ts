import { ok } from "node:assert/strict";
import { simulate } from "./simulate.ts";

for (const faults of [false, true]) {
  const how = faults ? "on a disk that fails now and then" : "on a good disk";
  Deno.test(`simulated: Q01 Q03 Q08 30 seeds ${how}: nothing is lost, partial or delivered again`, async () => {
    let checks = 0;
    for (let seed = 1; seed <= 30; seed++) checks += (await simulate(seed, { faults })).checks;
    ok(checks > 3_000);
  });
}
