import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { trackText } from "../../server/cli/track_view.ts";
import { turn } from "../../server/testing/clock.ts";
import type { LastAttempt, RecipientState } from "../../server/spool/spool.ts";
import {
  content,
  day,
  envelopeOf,
  find,
  hour,
  idsOf,
  type Life,
  minute,
  passedOf,
  Place,
  said,
  start,
  theOne,
} from "./kit.ts";

const last: LastAttempt = {
  at: start + 1000,
  attempt: 1,
  host: "mx.there.example [192.0.2.1]:25",
  tls: "TLSv1.3",
};
const delivered: RecipientState = { state: "delivered", reply: "250 2.0.0 OK", last };

/** Many messages that come and go, so that segments are closed. */
async function pass(
  place: Place,
  spool: Life["spool"],
  from: number,
  count: number,
) {
  for (let i = from; i < from + count; i++) {
    const id = `M${String(i).padStart(6, "0")}`;
    await spool.keep(envelopeOf(id, { received: place.clock.now() }), content());
    await spool.record([{
      id,
      recipient: 0,
      state: { ...delivered, last: { ...last, at: place.clock.now() } },
    }]);
  }
}

Deno.test("tracking: a message is found by its id, Message-ID, sender and recipients, in any case, with every step", async () => {
  await using place = await Place.make();
  const { spool, tracking } = await place.open();
  const recipients = [
    { address: "Bob@there.example", original: "team@here.example", via: "smtp" },
    { address: "carol@here.example", original: "carol@here.example", via: "maildir" },
  ];
  const trace = {
    messageId: "<Abc.1@client.example>",
    said: ["rcpt greylist defer 4.7.1 later", "rcpt relay accept"],
    facts: [["spf", { result: "pass" }]] as const,
  };
  const from = {
    ip: "192.0.2.7",
    helo: "client.example",
    user: "alice",
    tls: "TLSv1.3 X",
    protocol: "smtp",
  } as const;
  await spool.keep(envelopeOf("Q1", { recipients, trace, from }), content());
  const due = start + 5 * minute;
  const reply = "451 4.7.1 Greylisted";
  await spool.record([{ id: "Q1", recipient: 0, state: { state: "due", due, attempts: 1, reply, last } }]);
  place.clock.step(2000);
  await spool.hold("Q1", "by an operator");
  await place.clock.advance(minute);
  await spool.release("Q1");
  await spool.record([
    {
      id: "Q1",
      recipient: 0,
      state: { ...delivered, last: { ...last, at: start + 2 * minute, attempt: 2 } },
    },
    {
      id: "Q1",
      recipient: 1,
      state: { state: "failed", reply: "550 5.1.1 no", last: { at: start + 2 * minute, attempt: 1 } },
    },
  ]);
  await spool.keep(envelopeOf("Q2", { sender: "zoe@here.example" }), content());
  const texts = [
    "Q1",
    "abc.1@client.example",
    "<ABC.1@CLIENT.example>",
    "ALICE@here.example",
    "team@here.example",
    " carol@here.example ",
  ];
  for (const text of texts) equal((await theOne(tracking, text)).steps.length, 6, text);
  deepEqual(idsOf(await find(tracking, "bob@THERE.example")), ["Q1", "Q2"]);
  const { steps } = await theOne(tracking, "Q1");
  deepEqual(steps[0], {
    step: "received",
    at: start,
    arrival: { sender: "alice@here.example", size: 20, recipients, from, ...trace },
  });
  deepEqual(steps[1], { step: "attempt", to: 0, outcome: "deferred", reply, next: due, ...last });
  deepEqual(steps.slice(2).map(said), [
    "held by an operator",
    "released",
    "delivered 0 2 250 2.0.0 OK",
    "failed 1 1 550 5.1.1 no",
  ]);
  equal(steps[3]?.at, start + 2000 + minute);
  deepEqual(idsOf(await find(tracking, "nobody@here.example")), []);
  deepEqual(idsOf(await find(tracking, "here.example")), []);
});

Deno.test("tracking: what never came into the queue is found, with who has it", async () => {
  await using place = await Place.make();
  const { spool, tracking } = await place.open();
  spool.note(passedOf("N1", { kind: "transport", via: "maildir", reply: "delivered to mailbox" }));
  spool.note(passedOf("N2", { kind: "plugin", plugin: "archive", name: "4711" }));
  spool.note(passedOf("N3", { kind: "nobody" }, { recipients: [] }));
  await spool.keep(envelopeOf("Q1"), content()); // written behind them
  deepEqual((await theOne(tracking, "N1")).steps.map(said), [
    "received",
    "delivered 0 1 delivered to mailbox",
  ]);
  const [received] = (await theOne(tracking, "N2")).steps;
  deepEqual(received?.step === "received" && received.arrival.keeper, {
    kind: "plugin",
    plugin: "archive",
    name: "4711",
  });
  deepEqual(idsOf(await find(tracking, "alice@here.example")), ["N1", "N2", "N3", "Q1"]);
});

Deno.test("tracking: a report and the message it is about lead to each other", async () => {
  await using place = await Place.make();
  const { spool, tracking } = await place.open();
  await spool.keep(envelopeOf("Q1"), content());
  const about = { id: "Q1", kind: "failure" } as const;
  const recipients = [{ address: "alice@here.example", original: "alice@here.example", via: "maildir" }];
  await spool.keep(envelopeOf("Q2", { sender: "", recipients, trace: { about } }), content());
  await spool.remove("Q1");
  deepEqual((await theOne(tracking, "Q1")).steps.map(said), ["received", "report Q2 failure", "deleted"]);
  const [received] = (await theOne(tracking, "Q2")).steps;
  deepEqual(received?.step === "received" && received.arrival.about, about);
});

Deno.test("tracking: after a restart it goes on where it was, and tells nothing twice", async () => {
  await using place = await Place.make();
  for (let life = 0; life < 4; life++) {
    const { spool, tracking } = await place.open({ segment: 4000 });
    await pass(place, spool, life * 10, 5);
    if (life !== 1) await find(tracking, "x"); // this one has read nothing when it ends
    await pass(place, spool, life * 10 + 5, 5);
    await place.close();
  }
  const { tracking } = await place.open();
  const { messages, gaps } = await tracking.find({ text: "alice@here.example", limit: 100 });
  equal(messages.length, 40);
  for (const { steps } of messages) deepEqual(steps.map(said), ["received", "delivered 0 1 250 2.0.0 OK"]);
  deepEqual(gaps, []);
});

Deno.test("tracking: a segment waits until it was read, and no longer", async () => {
  await using place = await Place.make();
  const { spool, tracking } = await place.open({ segment: 2000 });
  await pass(place, spool, 0, 20);
  const before = await place.segments();
  ok(before.length > 4, `${before.length}`);
  equal((await tracking.find({ text: "alice@here.example", limit: 100 })).messages.length, 20);
  // They go one after the other, each with a sync of the folder: as many looks as that can take.
  for (let look = 0; look < 1000 && (await place.segments()).length > 2; look++) await turn();
  ok((await place.segments()).length <= 2);
});

Deno.test("tracking: too much waits, so it goes, and that is said", async () => {
  await using place = await Place.make();
  const { spool, tracking } = await place.open({ segment: 2000 }, { patience: 5000 });
  await pass(place, spool, 0, 40);
  const { messages, gaps } = await tracking.find({ text: "alice@here.example", limit: 100 });
  ok(messages.length < 40 && messages.length > 0, `${messages.length}`);
  equal(messages.at(-1)?.id, "M000039");
  match(gaps[0]?.why ?? "", /had to go before they were read/);
  ok(place.log.of("tracking: a part of the log goes unread").length > 0);
});

Deno.test("tracking: mail that is rewritten is told once; a database that was lost knows what is in the queue", async () => {
  await using place = await Place.make();
  const options = { segment: 2000, patience: 0, rate: Infinity };
  const { spool, tracking } = await place.open(options);
  const reply = "451 later";
  await spool.keep(envelopeOf("A1"), content());
  await spool.record([{
    id: "A1",
    recipient: 0,
    state: { state: "due", due: start + hour, attempts: 1, reply, last },
  }]);
  await pass(place, spool, 0, 20);
  await find(tracking, "A1");
  await pass(place, spool, 20, 20);
  await place.clock.advance(hour);
  await find(tracking, "A1");
  const steps = ["received", "deferred 0 1 451 later"];
  deepEqual((await theOne(tracking, "A1")).steps.map(said), steps);
  await place.close();
  ok((await place.segments()).some((name) => name.endsWith(".cold")));
  ok(!(await place.segments()).some((name) => name.startsWith("0000000001")));
  await Deno.writeTextFile(
    place.database,
    "this is no database, and there is more of it than a header takes".repeat(20),
  );
  const again = await place.open(options);
  deepEqual((await theOne(again.tracking, "A1")).steps.map(said), steps);
  const { gaps } = await find(again.tracking, "A1");
  match(gaps[0]?.why ?? "", /^The database was made anew/);
  ok(place.log.of("tracking: the database is made anew from what the log still has").length > 0);
});

Deno.test("tracking: a database that is locked, or can't be had, is one line in the log; mail goes on, and so does it later", async () => {
  await using place = await Place.make();
  const { spool, tracking } = await place.open();
  await spool.keep(envelopeOf("Q1"), content());
  await theOne(tracking, "Q1");
  const other = new DatabaseSync(place.database);
  other.exec("BEGIN IMMEDIATE");
  await spool.keep(envelopeOf("Q2"), content());
  await rejects(find(tracking, "Q2"), /The tracking database can't be used: .*locked/);
  await spool.keep(envelopeOf("Q3"), content());
  await rejects(find(tracking, "Q2"), /locked/);
  equal(place.log.entries.filter(({ event }) => event.includes("mail goes on without it")).length, 1);
  other.exec("COMMIT");
  other.close();
  deepEqual(idsOf(await find(tracking, "alice@here.example")), ["Q1", "Q2", "Q3"]);
});

Deno.test("tracking: the database's folder that is no folder stops no mail", async () => {
  await using place = await Place.make();
  const { spool, tracking } = await place.open({}, { path: `${place.folder}/nowhere/tracking.db` });
  await spool.keep(envelopeOf("Q1"), content());
  spool.note(passedOf("N1", { kind: "nobody" }));
  await rejects(find(tracking, "Q1"), /can't be used: .*nowhere|can't be used: No such file/);
  equal((await spool.get("Q1"))?.envelope.id, "Q1");
});

Deno.test("tracking: what is older than `keep` is forgotten, a day at a time; what is queued isn't", async () => {
  await using place = await Place.make();
  const { spool, tracking } = await place.open({}, { keep: 3 * day });
  for (let i = 0; i < 6; i++) {
    await pass(place, spool, i, 1);
    await find(tracking, "x");
    place.clock.step(day);
  }
  const { messages } = await find(tracking, "alice@here.example");
  deepEqual(messages.map(({ id }) => id), ["M000003", "M000004", "M000005"]);
});

Deno.test("tracking: --since and --limit: the newest, oldest first", async () => {
  await using place = await Place.make();
  const { spool, tracking } = await place.open();
  for (let i = 0; i < 5; i++) {
    await pass(place, spool, i, 1);
    place.clock.step(hour);
  }
  const text = "alice@here.example";
  const two = await tracking.find({ text, limit: 2 });
  deepEqual([idsOf(two), two.more], [["M000003", "M000004"], true]);
  const since = await tracking.find({ text, limit: 3, since: start + 2 * hour });
  deepEqual([idsOf(since), since.more], [["M000002", "M000003", "M000004"], false]);
});

Deno.test("tracking: a redirect is a step, and the message is found by where it went", async () => {
  await using place = await Place.make();
  const { spool, tracking } = await place.open();
  await spool.keep(envelopeOf("Q1"), content());
  await spool.redirect("Q1", [{ recipient: 0, address: "carol@else.example", via: "smtp" }]);
  await spool.record([{ id: "Q1", recipient: 0, state: delivered }]);
  const { steps } = await theOne(tracking, "carol@else.example");
  deepEqual(steps.map(({ step }) => step), ["received", "redirected", "attempt"]);
  deepEqual(await theOne(tracking, "bob@there.example"), { id: "Q1", steps });
  match(
    trackText({ id: "Q1", steps }),
    /to carol@else\.example by smtp\n[^]*carol@else\.example delivered by mx/,
  );
});
