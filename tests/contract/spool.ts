/** What every spool owes. */
import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type Content, memoryContent } from "../../server/message/content.ts";
import { noEdits } from "../../server/message/edits.ts";
import { concat } from "../../server/message/render.ts";
import type { QueuedEnvelope, RecipientState, Spool } from "../../server/spool/spool.ts";
import { FakeClock } from "../../server/testing/clock.ts";

/** An envelope for tests; recipients by address. */
export function envelopeOf(
  id: string,
  to: readonly string[] = ["b@example.org"],
  received = 0,
): QueuedEnvelope {
  const recipients = to.map((address) => ({ address, original: address, via: "smtp" }));
  return {
    id,
    received,
    sender: "a@example.org",
    utf8: false,
    edits: noEdits,
    top: ["Received: x\r\n"],
    recipients,
  };
}

export function contentOf(text: string): Content {
  return memoryContent(new TextEncoder().encode(text));
}

/** All octets of a content. */
export async function octetsOf(content: Content | undefined): Promise<Uint8Array> {
  return concat(await Array.fromAsync(content?.read() ?? []));
}

export function deferred(due: number, attempts = 1, reply = "451 4.3.0 later"): RecipientState {
  return { state: "due", due, attempts, reply };
}

export const delivered: RecipientState = { state: "delivered", reply: "250 2.0.0 ok" };
export const failed: RecipientState = { state: "failed", reply: "550 5.1.1 no" };

async function ids(spool: Spool): Promise<string[]> {
  return (await Array.fromAsync(spool.list())).map(({ envelope }) => envelope.id);
}

const dueIds = (spool: Spool, now: number, limit = 100) => spool.due(now, limit).map(({ id }) => id);

/** @param open A new, empty spool each time. */
export function spoolContract(
  kind: string,
  open: (clock: FakeClock) => Promise<Spool & AsyncDisposable>,
): void {
  const test = (name: string, body: (spool: Spool, clock: FakeClock) => Promise<void>) =>
    Deno.test(`${kind} spool: ${name}`, async () => {
      const clock = new FakeClock();
      await using spool = await open(clock);
      await body(spool, clock);
    });

  test("an amended message is what it was amended to, and stands as it stood", async (spool) => {
    await spool.keep(envelopeOf("Q1", ["a@x.example", "b@x.example"]), contentOf("A: 1\r\n\r\nbody\r\n"));
    await spool.record([{ id: "Q1", recipient: 0, state: delivered }]);
    await spool.record([{ id: "Q1", recipient: 1, state: deferred(7) }]);
    await spool.amend("Q1", (envelope) => ({ ...envelope, sender: "other@example.org" }));
    const amended = await spool.get("Q1");
    deepEqual([amended?.envelope.sender, amended?.states], ["other@example.org", [delivered, deferred(7)]]);
    equal(new TextDecoder().decode(await octetsOf(await spool.content("Q1"))), "A: 1\r\n\r\nbody\r\n");
    await spool.amend(
      "Q1",
      (envelope) => ({ ...envelope, edits: noEdits }),
      contentOf("B: 22\r\n\r\nanother\r\n"),
    );
    equal(new TextDecoder().decode(await octetsOf(await spool.content("Q1"))), "B: 22\r\n\r\nanother\r\n");
    equal((await spool.get("Q1"))?.size, 18);
    deepEqual(dueIds(spool, 6), []);
    deepEqual(dueIds(spool, 7), ["Q1"]);
    await spool.record([{ id: "Q1", recipient: 1, state: failed }]);
    equal(spool.size, 0);
    await spool.amend("Q1", (envelope) => envelope);
    equal(spool.size, 0, "what is gone stays so");
  });

  test("a redirect and an amendment that come together both count, whenever each comes", async (spool) => {
    for (let turns = 0; turns < 40; turns++) {
      const id = `Q${turns}`;
      await spool.keep(envelopeOf(id, ["a@x.example", "b@x.example"]), contentOf("A: 1\r\n\r\nbody\r\n"));
      const amended = spool.amend(id, (envelope) => ({
        ...envelope,
        recipients: envelope.recipients.map((one, i) => i === 1 ? { ...one, via: "quarantine" } : one),
      }));
      for (let i = 0; i < turns; i++) await undefined;
      await Promise.all([
        amended,
        spool.redirect(id, [{ recipient: 0, address: "c@y.example", via: "smtp" }]),
      ]);
      deepEqual(
        (await spool.get(id))?.envelope.recipients.map(({ address, via }) => [address, via]),
        [["c@y.example", "smtp"], ["b@x.example", "quarantine"]],
        `after ${turns} turns`,
      );
    }
  });

  test("a message that is held when it is kept is never due before it is released", async (spool) => {
    await spool.keep(envelopeOf("Q1"), contentOf("1"), undefined, "milter: looks odd");
    equal((await spool.get("Q1"))?.held, "milter: looks odd");
    deepEqual([dueIds(spool, 1e15), spool.census(0).held], [[], 1]);
    await spool.release("Q1");
    deepEqual(dueIds(spool, 1e15), ["Q1"]);
  });

  test("what is kept is got, listed, and due at once", async (spool, clock) => {
    equal(spool.size, 0);
    equal(spool.nextDue, Infinity);
    const envelope = {
      ...envelopeOf("Q1", ["b@example.org", "é@EXAMPLE.com", "c@example.org"], clock.now()),
      edits: { pieces: ["X: é😀\r\n", [3, 9]], rest: 12 },
      from: { ip: "192.0.2.1", helo: "x" },
    } as const;
    await spool.keep(envelope, contentOf("A: 1\r\n\r\nbody\r\n"));
    const state = { state: "due", due: clock.now(), attempts: 0, reply: "" };
    const queued = { envelope, states: [state, state, state], held: undefined, size: 14 };
    deepEqual(await spool.get("Q1"), queued);
    deepEqual(await Array.fromAsync(spool.list()), [queued]);
    deepEqual(spool.due(clock.now(), 10), [
      {
        id: "Q1",
        at: clock.now(),
        received: clock.now(),
        destinations: ["smtp example.org", "smtp example.com"],
      },
    ]);
    deepEqual([spool.size, spool.nextDue, spool.due(clock.now() - 1, 10)], [1, clock.now(), []]);
    equal(new TextDecoder().decode(await octetsOf(await spool.content("Q1"))), "A: 1\r\n\r\nbody\r\n");
  });

  test("contents of any size and kind come back as they were", async (spool) => {
    const octets = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
    octets.set(new TextEncoder().encode("A: 1\r\n\r\n"));
    for (const [i, size] of [0, 1, 5_000, 256 * 1024, 256 * 1024 + 1, 3_000_000].entries()) {
      const content = memoryContent(octets.slice(0, size));
      await spool.keep(envelopeOf(`Q${i}`), content);
      // The same, where it is in no memory: somebody else's file, for one.
      const { head, read } = { head: content.head, read: (offset?: number) => content.read(offset) };
      await spool.keep(envelopeOf(`R${i}`), { size, memory: undefined, head, read });
      for (const id of [`Q${i}`, `R${i}`]) {
        const back = await spool.content(id);
        equal(back?.size, size);
        ok(Buffer.compare(await octetsOf(back), octets.subarray(0, size)) === 0);
        ok(
          Buffer.compare(
            await octetsOf(memoryContent(concat(await Array.fromAsync(back!.read(3))))),
            octets.subarray(3, size),
          ) === 0,
        );
        ok(Buffer.compare(back!.head.subarray(0, 8), octets.subarray(0, Math.min(size, 8))) === 0);
      }
    }
  });

  test("ids that are not in it are nothing, an id twice is a mistake", async (spool) => {
    await spool.keep(envelopeOf("Q1"), contentOf("1"));
    await rejects(spool.keep(envelopeOf("Q1"), contentOf("2")), {
      name: "TypeError",
      message: /Q1 is in the queue already/,
    });
    await spool.record([{ id: "none", recipient: 0, state: delivered }]);
    await spool.hold("none", "why");
    await spool.release("none");
    await spool.remove("none");
    spool.postpone("none", 1);
    spool.attempting(["none"]);
    deepEqual([await spool.get("none"), await spool.content("none"), spool.size], [undefined, undefined, 1]);
    await spool.record([]);
    await spool.record([{ id: "Q1", recipient: 1, state: delivered }]);
    equal(spool.size, 1);
  });

  test("each recipient stands for itself, and the last one's outcome ends it", async (spool, clock) => {
    const [now, later] = [clock.now(), clock.now() + 60_000];
    await spool.keep(envelopeOf("Q1", ["a@x", "b@x", "c@x"], now), contentOf("1"));
    await spool.record([{ id: "Q1", recipient: 1, state: delivered }, {
      id: "Q1",
      recipient: 2,
      state: deferred(later),
    }]);
    const fresh = { state: "due", due: now, attempts: 0, reply: "" };
    deepEqual((await spool.get("Q1"))?.states, [fresh, delivered, deferred(later)]);
    equal(spool.nextDue, now);
    await spool.record([{ id: "Q1", recipient: 0, state: failed }]);
    equal(spool.nextDue, later);
    deepEqual((await spool.get("Q1"))?.states, [failed, delivered, deferred(later)]);
    const noticed = { ...deferred(later + 5, 2, "é"), noticed: true } as const;
    await spool.record([{ id: "Q1", recipient: 2, state: noticed }]);
    deepEqual((await spool.get("Q1"))?.states, [failed, delivered, noticed]);
    await spool.record([{ id: "Q1", recipient: 1, state: deferred(0) }]); // what is delivered stays delivered
    deepEqual((await spool.get("Q1"))?.states[1], delivered);
    await spool.record([{ id: "Q1", recipient: 2, state: delivered }]);
    deepEqual([await spool.get("Q1"), await spool.content("Q1"), spool.size, spool.nextDue], [
      undefined,
      undefined,
      0,
      Infinity,
    ]);
    await spool.keep(envelopeOf("Q1"), contentOf("again"));
    equal(spool.size, 1);
  });

  test("outcomes of several messages at once", async (spool, clock) => {
    for (let i = 0; i < 5; i++) {
      await spool.keep(envelopeOf(`Q${i}`, ["a@x", "b@x"], clock.now()), contentOf(`${i}`));
    }
    const of = (id: string, state: RecipientState) => [0, 1].map((recipient) => ({ id, recipient, state }));
    await spool.record([
      ...of("Q0", delivered),
      ...of("Q1", failed),
      ...of("Q2", deferred(7)),
      ...of("Q2", deferred(9, 2)),
    ]);
    deepEqual(await ids(spool), ["Q2", "Q3", "Q4"]);
    deepEqual((await spool.get("Q2"))?.states, [deferred(9, 2), deferred(9, 2)]);
  });

  test("first times may be given", async (spool, clock) => {
    const now = clock.now();
    await spool.keep(envelopeOf("Q1", ["a@x", "b@x"], now), contentOf("1"), [now + 500, now + 300]);
    await spool.keep(envelopeOf("Q2", ["a@x", "b@x"], now), contentOf("2"), [undefined, now + 400]);
    deepEqual((await spool.get("Q1"))?.states.map((state) => state.state === "due" && state.due - now), [
      500,
      300,
    ]);
    deepEqual([dueIds(spool, now), dueIds(spool, now + 299), dueIds(spool, now + 300)], [["Q2"], ["Q2"], [
      "Q2",
      "Q1",
    ]]);
  });

  test("due: by time, up to the limit, again until recorded", async (spool) => {
    const times = [50, 10, 40, 20, 30, 60, 0, 35];
    for (const [i, time] of times.entries()) {
      await spool.keep(envelopeOf(`Q${i}`, ["a@x"], time), contentOf("1"));
    }
    const sorted = times.map((time, i) => ({ time, id: `Q${i}` })).sort((a, b) => a.time - b.time).map((
      { id },
    ) => id);
    deepEqual(dueIds(spool, 60), sorted);
    deepEqual(dueIds(spool, 60, 3), sorted.slice(0, 3));
    deepEqual(dueIds(spool, 35), sorted.slice(0, 5));
    deepEqual(dueIds(spool, 35), sorted.slice(0, 5));
    await spool.record([{ id: "Q6", recipient: 0, state: delivered }, {
      id: "Q1",
      recipient: 0,
      state: deferred(45),
    }]);
    deepEqual(dueIds(spool, 60), ["Q3", "Q4", "Q7", "Q2", "Q1", "Q0", "Q5"]);
  });

  test("postponed: later, until something is recorded", async (spool) => {
    for (const id of ["Q1", "Q2", "Q3"]) await spool.keep(envelopeOf(id, ["a@x", "b@x"], 10), contentOf("1"));
    spool.postpone("Q1", 100);
    spool.postpone("Q2", Infinity);
    spool.postpone("Q3", 5);
    deepEqual([dueIds(spool, 99), dueIds(spool, 1e12), spool.nextDue], [["Q3"], ["Q3", "Q1"], 10]);
    await spool.record([{ id: "Q2", recipient: 0, state: delivered }]);
    deepEqual(dueIds(spool, 50).sort(), ["Q2", "Q3"]);
  });

  test("held: not due until released, and then at once", async (spool, clock) => {
    const now = clock.now();
    await spool.keep(envelopeOf("Q1", ["a@x", "b@x"], now), contentOf("1"));
    await spool.record([{ id: "Q1", recipient: 1, state: deferred(now + 1e6) }]);
    await spool.hold("Q1", "looks odd: é");
    equal((await spool.get("Q1"))?.held, "looks odd: é");
    spool.postpone("Q1", 0);
    deepEqual([dueIds(spool, Infinity), spool.nextDue], [[], Infinity]);
    await spool.record([{ id: "Q1", recipient: 1, state: deferred(now + 2e6, 2) }]); // an attempt was under way
    equal(spool.nextDue, Infinity);
    await clock.advance(1_000);
    await spool.release("Q1");
    equal((await spool.get("Q1"))?.held, undefined);
    deepEqual(dueIds(spool, clock.now()), ["Q1"]);
    deepEqual((await spool.get("Q1"))?.states[1], deferred(now + 1_000, 2));
  });

  test("redirected: due at once, elsewhere, as if never tried; who has it keeps it", async (spool, clock) => {
    const [now, later] = [clock.now(), clock.now() + 60_000];
    await spool.keep(envelopeOf("Q1", ["a@x", "b@x", "c@x"], now), contentOf("1"));
    const noticed = { ...deferred(later, 7), noticed: true } as const;
    await spool.record([{ id: "Q1", recipient: 0, state: delivered }, {
      id: "Q1",
      recipient: 1,
      state: noticed,
    }]);
    await clock.advance(1_000);
    const hops = [{ host: "mx.example.net", port: 2525 }] as const;
    await spool.redirect("Q1", [
      { recipient: 0, address: "z@y", via: "smtp" },
      { recipient: 1, address: "d@Y", via: "maildir" },
      { recipient: 2, address: "c@x", via: "smtp", hops },
      { recipient: 3, address: "nobody@y", via: "smtp" },
    ]);
    const anew = { state: "due", due: now + 1_000, attempts: 0, reply: "" };
    const queued = await spool.get("Q1");
    deepEqual(queued?.states, [delivered, { ...anew, noticed: true }, anew]);
    deepEqual(queued?.envelope.recipients, [
      { address: "a@x", original: "a@x", via: "smtp" },
      { address: "d@Y", original: "b@x", via: "maildir" },
      { address: "c@x", original: "c@x", via: "smtp", hops },
    ]);
    deepEqual(spool.due(clock.now(), 9), [{ id: "Q1", at: now + 1_000, received: now, destinations: [] }]);
    await spool.redirect("Q1", [{ recipient: 2, address: "c@x", via: "smtp" }]); // and back
    const [due] = spool.due(clock.now(), 9);
    deepEqual(due?.destinations, ["smtp x", "maildir y"]);
    deepEqual((await spool.get("Q1"))?.envelope.recipients[2], {
      address: "c@x",
      original: "c@x",
      via: "smtp",
    });
    await spool.record([{ id: "Q1", recipient: 1, state: deferred(later, 1) }]);
    deepEqual((await spool.get("Q1"))?.states[1], deferred(later, 1));
  });

  test(
    "hastened: due now; a hold that came first is not lifted, nor one that comes at the same moment",
    async (spool, clock) => {
      const later = clock.now() + 3_600_000;
      for (const id of ["Q1", "Q2", "Q3"]) {
        await spool.keep(envelopeOf(id, ["a@x"], clock.now()), contentOf("1"));
        await spool.record([{ id, recipient: 0, state: deferred(later, 1) }]);
      }
      await spool.hold("Q2", "before");
      await Promise.all([
        spool.hasten("Q1"),
        spool.hasten("Q2"),
        spool.hold("Q3", "meanwhile"),
        spool.hasten("Q3"),
      ]);
      await spool.hasten("none");
      deepEqual(spool.due(clock.now(), 10).map(({ id }) => id), ["Q1"]);
      deepEqual(await Promise.all(["Q1", "Q2", "Q3"].map(async (id) => (await spool.get(id))?.held)), [
        undefined,
        "before",
        "meanwhile",
      ]);
    },
  );

  test(
    "redirected: a held one stays held, what is not there is nothing, many at once are one after the other",
    async (spool, clock) => {
      await spool.redirect("none", [{ recipient: 0, address: "z@y", via: "smtp" }]);
      await spool.keep(envelopeOf("Q1", ["a@x", "b@x"], clock.now()), contentOf("1"));
      await spool.hold("Q1", "why");
      await Promise.all(
        [0, 1, 0].map((recipient, i) =>
          spool.redirect("Q1", [{ recipient, address: `${i}@y`, via: "smtp" }])
        ),
      );
      const queued = await spool.get("Q1");
      deepEqual([queued?.held, queued?.envelope.recipients.map(({ address }) => address), spool.nextDue], [
        "why",
        ["2@y", "1@y"],
        Infinity,
      ]);
    },
  );

  test("removed: gone", async (spool) => {
    for (const id of ["Q1", "Q2"]) await spool.keep(envelopeOf(id), contentOf("1"));
    await spool.hold("Q1", "why");
    await spool.remove("Q1");
    await spool.remove("Q2");
    deepEqual([await ids(spool), spool.nextDue, await spool.get("Q1")], [[], Infinity, undefined]);
  });

  test("someone is told when something is due", async (spool, clock) => {
    const told: number[] = [];
    const next = () => new Promise<void>((resolve) => waiting = resolve);
    let waiting = () => {};
    spool.onDue(() => {
      told.push(spool.size);
      waiting();
    });
    let heard = next();
    await spool.keep(envelopeOf("Q1", ["a@x"], clock.now()), contentOf("1"));
    await heard;
    heard = next();
    await spool.keep(envelopeOf("Q2", ["a@x"], clock.now()), contentOf("1")); // though an older one is still due
    await heard;
    const soon = clock.now() + 1_000;
    await spool.record(["Q1", "Q2"].map((id) => ({ id, recipient: 0, state: deferred(soon) })));
    heard = next();
    await spool.keep(envelopeOf("Q3"), contentOf("1"), [soon - 1]);
    await heard;
    heard = next();
    await spool.release("Q2");
    await heard;
    ok(told.length >= 4);
  });

  test("many at once, and in any order", async (spool) => {
    const count = 300;
    const all = Array.from({ length: count }, (_, i) => `Q${i}`);
    await Promise.all(all.map((id) => spool.keep(envelopeOf(id), contentOf(id.repeat(50)))));
    equal(spool.size, count);
    await Promise.all(all.map(async (id, i) => {
      const content = await octetsOf(await spool.content(id));
      equal(new TextDecoder().decode(content), id.repeat(50));
      if (i % 3 > 0) await spool.record([{ id, recipient: 0, state: i % 3 === 1 ? delivered : deferred(i) }]);
    }));
    deepEqual(await ids(spool), all.filter((_, i) => i % 3 !== 1));
  });

  test("a census counts messages by how they stand, and knows the oldest", async (spool, clock) => {
    deepEqual(spool.census(clock.now()), { ready: 0, deferred: 0, held: 0, oldest: undefined });
    const oldest = clock.now() - 5_000;
    await spool.keep(envelopeOf("Q1", ["a@x.example", "b@x.example"], clock.now()), contentOf("1"));
    await spool.keep(envelopeOf("Q2", ["a@x.example"], oldest), contentOf("2"));
    await spool.keep(envelopeOf("Q3", ["a@x.example"], clock.now()), contentOf("3"));
    await spool.record([
      { id: "Q1", recipient: 0, state: deferred(clock.now() + 9_000) },
      { id: "Q2", recipient: 0, state: deferred(clock.now() + 9_000) },
    ]);
    await spool.hold("Q3", "by a test");
    deepEqual(spool.census(clock.now()), { ready: 1, deferred: 1, held: 1, oldest });
    deepEqual(spool.census(clock.now() + 9_000), { ready: 2, deferred: 0, held: 1, oldest });
    await spool.remove("Q2");
    equal(spool.census(clock.now()).oldest, clock.now());
  });
}
