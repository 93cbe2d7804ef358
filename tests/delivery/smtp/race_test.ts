/** Racing addresses, without a network. */
import { deepStrictEqual as deepEqual, rejects, strictEqual as equal } from "node:assert/strict";
import { race, type RaceHow } from "../../../server/delivery/smtp/race.ts";
import { Reach } from "../../../server/delivery/smtp/reach.ts";
import { Recent } from "../../../server/delivery/smtp/recent.ts";
import { FakeClock } from "../../../server/testing/clock.ts";

/** Connections that come when the test says so. */
function network() {
  const clock = new FakeClock();
  const waiting = new Map<string, { resolve(value: string): void; reject(error: Error): void }>();
  const events: string[] = [];
  const how: RaceHow<string> = {
    connect: (address, signal) =>
      new Promise((resolve, reject) => {
        events.push(`try ${address}`);
        signal.addEventListener("abort", () => events.push(`stop ${address}`));
        waiting.set(address, { resolve, reject });
      }),
    discard: (connection) => events.push(`discard ${connection}`),
    clock,
    stagger: 250,
    timeout: 30_000,
    signal: new AbortController().signal,
  };
  const settled = () => clock.advance(0);
  return {
    clock,
    how,
    events,
    settled,
    async answer(address: string) {
      waiting.get(address)!.resolve(`to ${address}`);
      await settled();
    },
    async refuse(address: string) {
      waiting.get(address)!.reject(new Error(`${address} refused`));
      await settled();
    },
  };
}

Deno.test("the next address is tried after a quarter of a second, and the first answer wins", async () => {
  const { clock, how, events, answer } = network();
  const racing = race(["a", "b", "c"], how);
  await clock.advance(249);
  deepEqual(events, ["try a"]);
  await clock.advance(1);
  deepEqual(events, ["try a", "try b"]);
  await answer("b");
  const raced = await racing;
  equal(raced.kind === "connected" && raced.address, "b");
  deepEqual(raced.kind === "connected" && raced.untried, ["a", "c"]);
  deepEqual(events.splice(2), ["stop a"]);
  await answer("a"); // too late
  deepEqual(events.splice(2), ["discard to a"]);
  await clock.advance(60_000);
  deepEqual(clock.pending, []);
});

Deno.test("a refusal starts the next at once; all refused is a failure", async () => {
  const { clock, how, events, refuse } = network();
  const racing = race(["a", "b"], how);
  await refuse("a");
  deepEqual(events, ["try a", "try b"]);
  await refuse("b");
  const raced = await racing;
  equal(raced.kind, "failed");
  deepEqual([...raced.failures.keys()], ["a", "b"]);
  deepEqual(clock.pending, []);
});

Deno.test("an address that hangs is over after its time; the last one decides", async () => {
  const { clock, how } = network();
  const racing = race(["a", "b"], how);
  await clock.advance(31_000);
  const raced = await racing;
  deepEqual([raced.kind, [...raced.failures].map(([a, error]) => `${a} ${(error as Error).message}`)], [
    "failed",
    ["a Connection timed out", "b Connection timed out"],
  ]);
  deepEqual(clock.pending, []);
});

Deno.test("the signal ends a race", async () => {
  const { clock, how, events, answer } = network();
  const stop = new AbortController();
  const racing = race(["a", "b"], { ...how, signal: stop.signal });
  stop.abort(new Error("enough"));
  await rejects(racing, /enough/);
  await answer("a");
  deepEqual(events, ["try a", "stop a", "discard to a"]);
  deepEqual(clock.pending, []);
  await rejects(race(["a"], { ...how, signal: stop.signal }), /enough/);
});

Deno.test("what failed a minute ago stands behind; a family without a route too", async () => {
  const clock = new FakeClock();
  const reach = new Reach(clock);
  const addresses = ["2001:db8::1", "192.0.2.1", "192.0.2.2"];
  deepEqual(reach.order(addresses, 25), addresses);
  reach.failed("192.0.2.1", 25, new Error("refused"));
  deepEqual(reach.order(addresses, 25), ["2001:db8::1", "192.0.2.2", "192.0.2.1"]);
  deepEqual(reach.order(addresses, 26), addresses);
  reach.failed("2001:db8::2", 25, Object.assign(new Error("no route"), { code: "ENETUNREACH" }));
  deepEqual(reach.order(addresses, 25), ["192.0.2.2", "2001:db8::1", "192.0.2.1"]);
  await clock.advance(61_000);
  deepEqual(reach.order(addresses, 25), ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
  reach.reached("2001:db8::1", 25);
  deepEqual(reach.order(addresses, 25), addresses);
});

Deno.test("what was learnt is forgotten in time, and the oldest when there is too much", async () => {
  const clock = new FakeClock();
  const recent = new Recent<number>(clock, 2);
  recent.set("a", 1, 1000);
  recent.set("b", 2, 5000);
  recent.set("a", 3, 1000);
  recent.set("c", 4, 5000);
  deepEqual(["a", "b", "c"].map((key) => recent.get(key)), [3, undefined, 4]);
  await clock.advance(1000);
  deepEqual(["a", "b", "c"].map((key) => recent.get(key)), [undefined, undefined, 4]);
});
