/** What is acknowledged is kept, whatever happens to the process (CASES Q01, Q07). */
import { deepStrictEqual as deepEqual, ok } from "node:assert/strict";
import { killAgainAndAgain } from "./kills.ts";

Deno.test("Q01 twenty kills under load: nothing acknowledged is missing, nothing comes twice but by RFC 1047", async () => {
  const seed = crypto.getRandomValues(new Uint16Array(1))[0]!;
  console.log(`deno task kills 20 ${seed}`);
  const figures = await killAgainAndAgain(20, seed);
  console.log(JSON.stringify(figures));
  ok(figures.acknowledged > 100, "there was no load");
  deepEqual(figures.missing, []);
  deepEqual(figures.wrong, []);
});
