import { deepStrictEqual as deepEqual, match, ok as yes, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { Damaged } from "../../server/spool/spool.ts";
import type { Answer, Attempt } from "../../server/delivery/attempt.ts";
import { accept, defer, delivered, reject } from "../../server/plugin.ts";
import { day, each, hour, later, minute, never, ok, refused, rig, schedule, second, usual } from "./rig.ts";

Deno.test("what is due is delivered, recorded and gone", async () => {
  const { runner, keep, settle, spool, endings, log, held } = rig();
  await keep("M1", ["a@there.example"]);
  runner.start();
  await settle();
  await keep("M2", ["b@there.example"]);
  await settle();
  deepEqual(endings(), ["M1/0 delivered", "M2/0 delivered"]);
  equal(spool.size, 0);
  deepEqual(spool.announced, ["M1", "M2"]);
  equal(held.count, 0, "no generation is held any more");
  const [line] = log.of("delivered");
  deepEqual([line?.fields.to, line?.fields.transport, line?.fields.host, line?.fields.attempt], [
    "a@there.example",
    "smtp",
    "mx.there.example",
    1,
  ]);
});

Deno.test("a transport that is gone: deferred 4.3.5 for as long as it takes, shown, never bounced", async () => {
  const { runner, keep, clock, spool, log, bounces } = rig({
    settings: { policy: { ...usual.policy, giveUpAfter: hour } },
  });
  await keep("M1", [{ address: "a@here.example", via: "lost" }]);
  runner.start();
  await clock.advance(3 * hour);
  equal(bounces.length, 0);
  const [state] = (await spool.states("M1"))!;
  yes(state?.state === "due" && state.attempts === 0);
  match(state.reply, /^4\.3\.5 No plugin has the transport "lost"/);
  equal(log.of("deferred").length, 19);
  yes(log.of("no such transport, mail for it waits").length <= 19);
});

Deno.test("batch: as many recipients as the transport takes, those with lines of their own apart", async () => {
  const calls: string[][] = [];
  const heads: string[] = [];
  const { runner, keep, settle, endings } = rig({
    transportBatch: 2,
    transports: {
      box: async (message, recipients) => {
        calls.push(recipients.map(({ local }) => local));
        const text = new TextDecoder().decode(await message.bytes());
        heads.push(/^Received: here\r\n(X-[^\r]*)?/.exec(text)?.[1] ?? "");
        return delivered();
      },
    },
  });
  const to = ["a", "b", "c", "d", "e"].map((local) => ({
    address: `${local}@here.example`,
    via: "box",
    ...(local === "b" && { own: ["X-Refused: 5.7.1 spam\r\n"] }),
  }));
  await keep("M1", to, { top: ["Received: here\r\n"] });
  runner.start();
  await settle();
  deepEqual(calls, [["a", "c"], ["d", "e"], ["b"]]);
  deepEqual(heads, ["", "", "X-Refused: 5.7.1 spam"]);
  equal(endings().length, 5);
});

Deno.test("route: asked for each attempt of smtp; what it says is where it goes, or whether", async () => {
  const asked: string[] = [];
  const { runner, keep, settle, attempts, spool, bounces } = rig({
    handlers: {
      route(address, message) {
        asked.push(`${address} ${message.headers.get("subject")}`);
        if (address.user === "no") return reject("5.7.1", "Not there");
        if (address.user === "later") return defer("4.7.1", "Not now");
        if (address.user === "broken") throw new Error("boom");
        if (address.user === "far") return accept({ hops: [{ host: "relay.example" }] });
      },
    },
  });
  await keep("M1", ["far", "no", "later", "broken", "usual"].map((user) => `${user}@x.example`));
  runner.start();
  await settle();
  deepEqual(asked.length, 5);
  equal(asked[0], "far@x.example hello");
  deepEqual(attempts.map(({ hops, recipients }) => [hops?.[0]?.host, recipients[0]!.parsed.user]), [
    ["relay.example", "far"],
    [undefined, "usual"],
  ]);
  equal(bounces.length, 1);
  match(bounces[0]!.text, /Not there/);
  deepEqual((await spool.states("M1"))?.map(({ state }) => state), [
    "delivered",
    "failed",
    "due",
    "due",
    "delivered",
  ]);
});

Deno.test("a damaged message is held, and nobody else is harmed", async () => {
  const { runner, keep, settle, spool, log } = rig();
  spool.beforeContent = (id) => {
    if (id === "M1") throw new Damaged("CRC");
  };
  await keep("M1", ["a@there.example"]);
  await keep("M2", ["a@there.example"]);
  runner.start();
  await settle();
  equal((await spool.get("M1"))?.held, "damaged: CRC");
  equal(await spool.get("M2"), undefined);
  equal(log.of("message damaged, held").length, 1);
});

Deno.test("a message that can't be read for now counts no attempt", async () => {
  const { runner, keep, clock, spool } = rig();
  let broken = true;
  spool.beforeContent = () => {
    if (broken) throw new Error("EIO");
  };
  await keep("M1", ["a@there.example"]);
  runner.start();
  await clock.advance(second);
  const [state] = (await spool.states("M1"))!;
  yes(state?.state === "due" && state.attempts === 0 && state.due > clock.now());
  broken = false;
  await clock.advance(11 * minute);
  equal(spool.size, 0);
});

Deno.test("an operator's hold, removal and change count for those that wait, too", async () => {
  let free = () => {};
  const { runner, keep, clock, spool, attempts } = rig({
    settings: { concurrency: { total: 200, perDestination: 1 } },
    smtp: (attempt) =>
      attempt.envelope.id === "M0"
        ? new Promise((resolve) => free = () => resolve(each(attempt, ok)))
        : each(attempt, ok),
  });
  for (const id of ["M0", "held", "removed", "moved"]) await keep(id, ["a@there.example"]);
  runner.start();
  await clock.advance(2 * second);
  await spool.hold("held", "why not");
  await spool.remove("removed");
  const { envelope } = (await spool.get("moved"))!;
  const recipients = [{ address: "b@else.example", original: "a@there.example", via: "box" }];
  spool.changed.set("moved", { ...envelope, recipients });
  free();
  await clock.advance(5 * second);
  deepEqual(attempts.map(({ envelope }) => envelope.id), ["M0"]);
  deepEqual(await spool.ids(), ["held", "moved"]);
  match((await spool.states("moved"))![0]!.reply, /^4\.3\.5/);
  await spool.release("held");
  await clock.advance(5 * second);
  deepEqual(await spool.ids(), ["moved"]);
});

Deno.test("stop: what is under way ends and is recorded; what takes longer is aborted and stays", async () => {
  const { runner, keep, clock, spool, settle } = rig({
    smtp: async (attempt) => {
      const time = attempt.recipients[0]!.parsed.domain === "slow.example" ? day : 5 * second;
      await clock.sleep(time, attempt.stopping).catch(() => {});
      return each(attempt, attempt.stopping.aborted ? later : ok);
    },
    settings: { concurrency: { total: 200, perDestination: 1 } },
  });
  await keep("M1", ["a@quick.example"]);
  await keep("M2", ["a@slow.example"]);
  await keep("M3", ["a@quick.example"]);
  runner.start();
  await settle();
  const stopped = runner.stop(10 * second);
  await clock.advance(10 * second);
  await clock.advance(second);
  equal(await stopped, "cut off");
  deepEqual(await spool.ids(), ["M2", "M3"]);
});

Deno.test("stop: drains at once when nothing is under way", async () => {
  const { runner, keep, settle } = rig();
  await keep("M1", ["a@quick.example"]);
  runner.start();
  await settle();
  equal(await runner.stop(10 * second), "drained");
});

Deno.test("Q08: what is read while an outcome is being recorded doesn't repeat a delivery", async () => {
  const { runner, keep, clock, spool, attempts } = rig({
    smtp: async (attempt) => {
      const { domain } = attempt.recipients[0]!.parsed;
      if (domain === "later.example") return each(attempt, later);
      await clock.sleep(minute + 5); // ends while the message is read for the other one
      return each(attempt, ok);
    },
  });
  spool.afterRead = () => clock.sleep(10);
  await keep("M1", ["a@later.example", "b@slow.example"]);
  runner.start();
  await clock.advance(hour);
  equal(attempts.filter(({ recipients }) => recipients[0]!.parsed.domain === "slow.example").length, 1);
});

Deno.test("whatever a transport says or does, everybody ends once, or stays due; nobody is tried twice at a time", async () => {
  const result = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(ok, later, never) },
    fc.constantFrom(undefined, null, {}, { outcome: "delivered" }, {
      outcome: "toString",
      reply: "x",
      status: "2.0.0",
    }, {
      outcome: "failed",
      status: "evil\r\nX: y",
      reply: "bad\r\nreply \0",
    }),
  );
  const behaviour = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("says" as const),
        results: fc.array(result, { maxLength: 4 }),
      }),
    },
    fc.record({
      kind: fc.constantFrom("throws" as const, "rejects" as const, "nothing" as const, "dead" as const),
    }),
    fc.record({ kind: fc.constant("slow" as const), ms: fc.nat(10 * minute) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.nat(3), { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 6 }),
      fc.array(behaviour, { minLength: 1, maxLength: 12 }),
      fc.boolean(),
      fc.record({ read: fc.constantFrom(0, 1, 20), record: fc.constantFrom(0, 1, 20) }),
      async (messages, behaviours, asPlugin, disk) => {
        let call = 0;
        const running = new Set<string>();
        const twice: string[] = [];
        const deliver = async (
          id: string,
          addresses: readonly string[],
          signal?: AbortSignal,
        ): Promise<unknown> => {
          const keys = addresses.map((address) => `${id} ${address}`);
          for (const key of keys) {
            if (running.has(key)) twice.push(key);
            running.add(key);
          }
          const how = behaviours[call++ % behaviours.length]!;
          try {
            if (how.kind === "throws") throw new Error("thrown");
            if (how.kind === "rejects") return await Promise.reject("rejected");
            if (how.kind === "nothing") return undefined;
            if (how.kind === "slow") await clock.sleep(how.ms, signal);
            if (how.kind === "says") return how.results;
            return how.kind === "dead" ? "dead" : [];
          } finally {
            for (const key of keys) running.delete(key);
          }
        };
        const test = rig({
          smtp: async (attempt: Attempt) => {
            const said = await deliver(attempt.envelope.id, attempt.recipients.map(({ address }) => address));
            if (said === "dead") return each(attempt, refused, "unreachable");
            return { results: said, contact: "reached" } as unknown as Answer;
          },
          batch: 2,
          transportBatch: 2,
          transports: {
            box: (message, recipients, { signal }) =>
              deliver(message.id, recipients.map(({ address }) => address), signal) as Promise<never>,
          },
          settings: {
            policy: { schedule: schedule("1m", "5m"), giveUpAfter: hour, delayNoticeAfter: day },
            concurrency: { total: 4, perDestination: 2 },
          },
        });
        const { clock, spool, runner, keep } = test;
        if (disk.read > 0) spool.afterRead = () => clock.sleep(disk.read);
        if (disk.record > 0) spool.beforeRecord = () => clock.sleep(disk.record);
        for (const [i, to] of messages.entries()) {
          const recipients = to.map((domain, j) => ({
            address: `u${j}@d${domain}.example`,
            via: asPlugin ? "box" : "smtp",
          }));
          await keep(`M${i}`, recipients);
        }
        runner.start();
        await clock.advance(40 * minute);
        const ends = new Map<string, number>();
        for (const { id, recipient, state } of spool.recorded) {
          if (state.state !== "due") {
            ends.set(`${id}/${recipient}`, (ends.get(`${id}/${recipient}`) ?? 0) + 1);
          }
        }
        for (const [i, to] of messages.entries()) {
          for (const j of to.keys()) {
            const left = (await spool.states(`M${i}`))?.[j]?.state === "due";
            equal((ends.get(`M${i}/${j}`) ?? 0) + (left ? 1 : 0), 1, `M${i}/${j}`);
          }
        }
        deepEqual(twice, []);
        // Nothing is stuck: whoever keeps failing is given up in the end.
        await clock.advance(12 * hour);
        equal(spool.size, 0);
        equal(
          await Promise.race([runner.stop(second), clock.advance(2 * second).then(() => "late")]),
          "drained",
        );
      },
    ),
    {
      numRuns: 25,
      examples: [[[[0]], [{ kind: "says", results: [undefined] }], false, { read: 0, record: 0 }]],
    },
  );
});

Deno.test("who waits to be looked at is under no suspicion of ending the process, and holds no generation", async () => {
  const place = Promise.withResolvers<void>();
  const { runner, keep, settle, spool, held, endings } = rig({
    async screen({ envelope: { id } }, _due, { begin }) {
      await place.promise;
      yes(begin());
      deepEqual([spool.announced, held.count], [["M1"], 1]);
      await spool.amend(id, ({ screening: _, ...envelope }) => envelope);
      return { kind: "passed" };
    },
  });
  const session = { id: "S1", role: "mx", trusted: false, network: "192.0.2.0/24", port: 1 } as const;
  const screening = { by: ["scanner"], about: "message", recipients: [0], session, params: [] } as const;
  await keep("M1", ["a@there.example"], { screening });
  runner.start();
  await settle();
  deepEqual([spool.announced, held.count, runner.isActive("M1")], [[], 0, false]);
  place.resolve();
  await settle();
  deepEqual([endings(), held.count, spool.size], [["M1/0 delivered"], 0, 0]);
});
