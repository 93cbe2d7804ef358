/** Which policy holds: found, kept, renewed, and not lost by who keeps DNS or the policy host silent (RFC 8461 §3.3, §5.1). */
import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal } from "node:assert/strict";
import type { Fetched } from "../../../server/delivery/mta_sts/fetch.ts";
import { readStsPolicy } from "../../../server/delivery/mta_sts/policy.ts";
import { StsPolicies } from "../../../server/delivery/mta_sts/policies.ts";
import { memoryStore, type Stores } from "../../../server/store.ts";
import { FakeClock } from "../../../server/testing/clock.ts";
import { fakeDns } from "../../../server/testing/dns.ts";
import { type Line, recordingLog } from "../../channel/fixtures.ts";

const day = 864e5;
const never = new AbortController().signal;

function policyOf(mode: string, maxAge = 604_800): Fetched {
  const policy = readStsPolicy(`version: STSv1\nmode: ${mode}\nmx: mx.example.org\nmax_age: ${maxAge}`);
  ok(typeof policy !== "string");
  return { kind: "policy", policy };
}

const unreachable: Fetched = { kind: "failed", fault: "sts-policy-fetch-error", text: "nobody there" };

/** A domain whose record and policy a test sets. */
function rig(before?: { readonly clock: FakeClock; readonly stores: Stores }) {
  const clock = before?.clock ?? new FakeClock();
  const stores = before?.stores ?? memoryStore(clock);
  const dns = fakeDns();
  const log: Line[] = [];
  const fetches: string[] = [];
  const host = { answer: policyOf("enforce") as Fetched | Promise<Fetched> };
  const policies = new StsPolicies({
    query: dns.query,
    store: stores.for("mta-sts"),
    clock,
    log: recordingLog(log),
    fetch: (domain) => {
      fetches.push(domain);
      return Promise.resolve(host.answer);
    },
  });
  return {
    clock,
    stores,
    dns,
    log,
    fetches,
    host,
    policies,
    record: (id: string | undefined) =>
      dns.set(
        "_mta-sts.example.org",
        id === undefined ? undefined : { TXT: [`v=STSv1; id=${id};`], ttl: 60 },
      ),
    async mode() {
      return (await policies.of("example.org", never)).policy?.mode;
    },
    [Symbol.asyncDispose]: () => policies.close(),
  };
}

Deno.test("no record, no policy, and nobody is asked for one", async () => {
  await using at = rig();
  deepEqual(await at.policies.of("example.org", never), { policy: undefined, problem: undefined });
  deepEqual(at.fetches, []);
});

Deno.test("a policy is fetched once, for all who wait for it, and kept while its id stays", async () => {
  await using at = rig();
  at.record("1");
  deepEqual(await Promise.all([at.mode(), at.mode(), at.mode()]), ["enforce", "enforce", "enforce"]);
  equal(await at.mode(), "enforce");
  equal(at.fetches.length, 1);
});

Deno.test("another id: fetched again; it may be none by now", async () => {
  await using at = rig();
  at.record("1");
  await at.mode();
  at.record("2");
  at.host.answer = policyOf("none");
  equal(await at.mode(), "none");
  equal(at.fetches.length, 2);
});

Deno.test("RFC 8461 §3.3 what is kept holds where the record is gone, broken, or can't be asked for, and over a restart", async () => {
  await using first = rig();
  first.record("1");
  await first.mode();
  first.record(undefined);
  equal(await first.mode(), "enforce");
  first.dns.set("_mta-sts.example.org", "servfail");
  equal(await first.mode(), "enforce");
  first.dns.set("_mta-sts.example.org", { TXT: ["v=STSv1; id=1", "v=STSv1; id=2"] });
  equal(await first.mode(), "enforce");
  await using second = rig(first);
  equal(await second.mode(), "enforce");
  equal(second.fetches.length, 0);
});

Deno.test("RFC 8461 §5.1 a new policy that can't be fetched: the old one holds until it has run out, then none", async () => {
  await using at = rig();
  at.record("1");
  await at.mode();
  at.record("2");
  at.host.answer = unreachable;
  const found = await at.policies.of("example.org", never);
  deepEqual([found.policy?.mode, found.problem?.fault], ["enforce", "sts-policy-fetch-error"]);
  await at.clock.advance(7 * day);
  const later = await at.policies.of("example.org", never);
  deepEqual([later.policy, later.problem?.fault], [undefined, "sts-policy-fetch-error"]);
});

Deno.test("what could not be fetched is not tried again for five minutes; a new id is", async () => {
  await using at = rig();
  at.record("1");
  at.host.answer = unreachable;
  equal(await at.mode(), undefined);
  equal(await at.mode(), undefined);
  equal(at.fetches.length, 1);
  at.record("2");
  await at.mode();
  equal(at.fetches.length, 2);
  await at.clock.advance(5 * 60_000);
  at.host.answer = policyOf("enforce");
  equal(await at.mode(), "enforce");
  deepEqual(at.log.map(({ event }) => event), [
    "MTA-STS policy can't be had",
    "MTA-STS policy can't be had",
    "MTA-STS policy",
  ]);
});

Deno.test("RFC 8461 §10.2 what is written to is fetched again every day, so that it doesn't run out; what isn't, is forgotten", async () => {
  await using at = rig();
  at.record("1");
  await at.mode();
  at.record(undefined); // by who wants it to run out
  for (let n = 0; n < 20; n++) {
    await at.clock.advance(day);
    equal(await at.mode(), "enforce");
  }
  ok(at.fetches.length >= 19 && at.fetches.length <= 22, String(at.fetches.length));
  at.host.answer = unreachable;
  await at.clock.advance(6 * day);
  equal(await at.mode(), "enforce"); // it can't be renewed, and holds still
  at.host.answer = policyOf("enforce");
  await at.clock.advance(day / 2);
  for (let n = 0; n < 60; n++) await at.clock.advance(day);
  const before = at.fetches.length;
  for (let n = 0; n < 10; n++) await at.clock.advance(day);
  equal(at.fetches.length, before);
});

Deno.test("who gives up waiting is let go; the fetch goes on for the others", async () => {
  await using at = rig();
  at.record("1");
  const { promise, resolve } = Promise.withResolvers<Fetched>();
  at.host.answer = promise;
  const stop = new AbortController();
  const one = at.policies.of("example.org", stop.signal);
  const other = at.mode();
  await at.clock.advance(0);
  stop.abort(new Error("gone"));
  await rejects(one, /gone/);
  resolve(policyOf("enforce"));
  equal(await other, "enforce");
  equal(at.fetches.length, 1);
});

Deno.test("a store that fails costs the memory of policies, not mail", async () => {
  const clock = new FakeClock();
  const stores = memoryStore(clock);
  await stores.close();
  await using at = rig({ clock, stores });
  at.record("1");
  equal(await at.mode(), "enforce");
});
