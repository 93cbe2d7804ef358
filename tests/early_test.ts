import { strictEqual as equal } from "node:assert/strict";
import { spokenWithin } from "../server/early.ts";
import { FakeClock } from "../server/testing/clock.ts";

const bytes = new Uint8Array([1]);
const never = new AbortController().signal;

Deno.test("early: bytes are speech, the end of the stream and a reset are none", async () => {
  const clock = new FakeClock();
  equal(await spokenWithin(Promise.resolve(bytes), 1000, never, clock), "spoke");
  equal(await spokenWithin(Promise.resolve(undefined), 1000, never, clock), "silent");
  equal(await spokenWithin(Promise.reject(new Error("reset")), 1000, never, clock), "silent");
  equal(clock.pending.length, 0);
});

Deno.test("early: it is over after its time, and when the signal aborts, before or meanwhile", async () => {
  const clock = new FakeClock();
  const quiet = new Promise<undefined>(() => {});
  const waited = spokenWithin(quiet, 1000, never, clock);
  await clock.advance(1000);
  equal(await waited, "silent");
  equal(await spokenWithin(quiet, 1000, AbortSignal.abort(), clock), "silent");
  const controller = new AbortController();
  const cut = spokenWithin(quiet, 1000, controller.signal, clock);
  controller.abort();
  equal(await cut, "silent");
  equal(clock.pending.length, 0);
});
