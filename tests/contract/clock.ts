/** What every clock owes. `pass` lets milliseconds go by: really, or by moving a fake. */
import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal } from "node:assert/strict";
import type { Clock } from "../../server/clock.ts";

export function clockContract(
  name: string,
  open: () => { clock: Clock; pass: (ms: number) => Promise<void> },
): void {
  Deno.test(`${name} clock: timers run in the order they are due, each once`, async () => {
    const { clock, pass } = open();
    const ran: string[] = [];
    clock.after(20, () => ran.push("c"));
    clock.after(0, () => ran.push("a"));
    clock.after(10, () => ran.push("b"));
    await pass(40);
    deepEqual(ran, ["a", "b", "c"]);
    await pass(40);
    equal(ran.length, 3);
  });

  Deno.test(`${name} clock: a cancelled timer never runs, and cancelling twice is harmless`, async () => {
    const { clock, pass } = open();
    let ran = 0;
    const cancel = clock.after(5, () => ran++);
    const late = clock.after(1, () => ran++);
    cancel();
    cancel();
    await pass(20);
    late();
    equal(ran, 1);
  });

  Deno.test(`${name} clock: a callback runs later, never within the call, even for 0 or less`, async () => {
    const { clock, pass } = open();
    let ran = 0;
    clock.after(0, () => ran++);
    clock.after(-5, () => ran++);
    equal(ran, 0);
    await pass(5);
    equal(ran, 2);
  });

  Deno.test(`${name} clock: sleep resolves no sooner than asked, on both clocks`, async () => {
    const { clock, pass } = open();
    const [wall, monotonic] = [clock.now(), clock.monotonic()];
    await Promise.all([clock.sleep(15), pass(15)]);
    ok(clock.monotonic() - monotonic >= 14, "monotonic");
    ok(clock.now() - wall >= 13, "wall"); // in whole milliseconds at both ends
  });

  Deno.test(`${name} clock: an aborted sleep rejects with the reason and leaves no timer`, async () => {
    const { clock } = open();
    await rejects(clock.sleep(60_000, AbortSignal.abort(new Error("before"))), /before/);
    const controller = new AbortController();
    const asleep = clock.sleep(60_000, controller.signal);
    controller.abort(new Error("during"));
    await rejects(asleep, /during/); // a timer left behind is found by the runner's sanitizer, or by `pending`
  });

  Deno.test(`${name} clock: a wait beyond 31 bits does not fire at once`, async () => {
    const { clock, pass } = open();
    let ran = false;
    const cancel = clock.after(2 ** 31 + 1000, () => ran = true);
    await pass(5);
    cancel();
    equal(ran, false);
  });
}
