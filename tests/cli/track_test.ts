import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { trackCommand, type TrackOptions } from "../../server/cli/track.ts";
import { standingText, trackJson, trackText } from "../../server/cli/track_view.ts";
import { LocalQueue } from "../../server/control/operations.ts";
import { ControlServer } from "../../server/control/server.ts";
import { systemClock } from "../../server/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";
import type { Step, TrackedMessage } from "../../server/tracking/steps.ts";
import { content, envelopeOf, hour, type Life, Place, start } from "../tracking/kit.ts";

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function track(place: Place, options: Partial<TrackOptions> = {}, yaml = "state: .\n"): Promise<Said> {
  const config = `${place.folder}/postrider.yaml`;
  await Deno.writeTextFile(config, `${yaml}listen: broken elsewhere\n`);
  let [out, err] = ["", ""];
  const nothing = { isTerminal: () => false, setRaw() {}, read: () => Promise.resolve(null) };
  const code = await trackCommand({ config, text: "alice@here.example", ...options }, {
    readTextFile: (path) => Deno.readTextFile(path),
    env: () => undefined,
    clock: place.clock,
    columns: () => undefined,
    stdin: nothing,
    stdout: { write: (text) => void (out += text) },
    stderr: { write: (text) => void (err += text) },
    writeBytes() {},
  });
  return { code, out, err };
}

async function withServer(place: Place, { spool, tracking }: Life, test: () => Promise<void>): Promise<void> {
  const queue = new LocalQueue(spool, place.clock);
  const server = await ControlServer.open({
    ...{ state: place.folder, queue, tracking, clock: systemClock, log: memoryLog() },
  });
  try {
    await test();
  } finally {
    await server.close();
  }
}

const many: Step[] = Array.from(
  { length: 4500 },
  (_, i) => ({ step: "held", at: start + i, reason: `${i}` }),
);

const message: TrackedMessage = {
  id: "1M806DNHX00W1VEH",
  steps: [
    {
      step: "received",
      at: start,
      arrival: {
        sender: "alice@here.example",
        size: 24_576,
        messageId: "<4711@laptop.example>",
        recipients: [
          { address: "bob@there.example", original: "team@here.example", via: "smtp" },
          { address: "carol@here.example", original: "carol@here.example", via: "maildir" },
        ],
        from: {
          ip: "192.0.2.7",
          helo: "laptop.example",
          user: "alice@here.example",
          tls: "TLSv1.3 TLS_AES_256_GCM_SHA384",
          protocol: "smtp",
        },
        said: ["rcpt auth accept", "rcpt auth accept", "rcpt greylist defer 4.7.1 not \u202e now"],
        facts: [["spf", { result: "pass" }]],
      },
    },
    {
      step: "attempt",
      at: start + 1000,
      to: 0,
      outcome: "deferred",
      attempt: 1,
      host: "mx.there.example [198.51.100.9]:25",
      reply: "451 4.7.1 Greylisted \x1b[31m",
      next: start + 61_000,
    },
    {
      step: "attempt",
      at: start + 1000,
      to: 1,
      outcome: "delivered",
      attempt: 1,
      reply: "delivered to mailbox",
    },
    { step: "waits", at: null, to: 0, reply: "4.4.1 No connection", next: start + hour },
    { step: "held", at: start + 2000, reason: "by an operator" },
    { step: "released", at: start + 86_400_000 },
    {
      step: "attempt",
      at: start + 86_401_000,
      to: 0,
      outcome: "failed",
      attempt: 2,
      host: "mx.there.example [198.51.100.9]:25",
      tls: "TLSv1.3",
      reply: "550 5.1.1 No such user",
    },
    { step: "report", at: start + 86_401_000, report: "1M8ZZZ", kind: "failure" },
  ],
};

Deno.test("track: a message for people, in eighty columns", () => {
  const text = trackText(message, 80);
  equal(
    text,
    `1M806DNHX00W1VEH  2 recipients: 1 failed, 1 delivered
  from        alice@here.example
  Message-ID  <4711@laptop.example>
  size        24576 octets

  2026-11-21
  22:00:00  received from laptop.example [192.0.2.7] by SMTP, TLSv1.3,
              TLS_AES_256_GCM_SHA384, user alice@here.example
              to bob@there.example (given as team@here.example) by smtp
              to carol@here.example by maildir
              auth at rcpt: accept (2 times)
              greylist at rcpt: defer 4.7.1 not \\u202e now
              found spf: {"result":"pass"}
  22:00:01  bob@there.example deferred by mx.there.example [198.51.100.9]:25,
              next try 2026-11-21 22:01:01
              451 4.7.1 Greylisted \\x1b[31m
  22:00:01  carol@here.example delivered by maildir
              delivered to mailbox
            bob@there.example waits until 2026-11-21 23:00:00, its destination
              can't be reached:
              4.4.1 No connection
  22:00:02  held: by an operator

  2026-11-22
  22:00:00  made due at once by an operator (\`queue retry\` or \`release\`)
  22:00:01  bob@there.example failed by mx.there.example [198.51.100.9]:25,
              TLSv1.3, attempt 2
              550 5.1.1 No such user
  22:00:01  the sender was sent a report of failure: 1M8ZZZ
`,
  );
  ok(text.split("\n").every((line) => line.length <= 80));
});

Deno.test("track: how it stands, from its steps", () => {
  const upTo = (count: number) => standingText({ ...message, steps: message.steps.slice(0, count) });
  equal(upTo(0), "its arrival is not known");
  equal(upTo(1), "waiting");
  equal(upTo(3), "2 recipients: 1 waiting, 1 delivered");
  equal(upTo(5), "2 recipients: 1 held, 1 delivered");
  equal(upTo(6), "2 recipients: 1 waiting, 1 delivered");
  const [received] = message.steps;
  equal(standingText({ id: "X", steps: [received!, { step: "deleted", at: 0 }] }), "deleted");
});

Deno.test("track: JSON has the same, with ISO times and the recipient's address", () => {
  const shown = JSON.parse(trackJson(message));
  deepEqual(shown.recipients.map((one: { state: string }) => one.state), ["failed", "delivered"]);
  equal(shown.received, "2026-11-21T22:00:00.000Z");
  deepEqual(shown.steps[0], {
    at: "2026-11-21T22:00:01.000Z",
    what: "attempt",
    recipient: "bob@there.example",
    outcome: "deferred",
    attempt: 1,
    host: "mx.there.example [198.51.100.9]:25",
    reply: "451 4.7.1 Greylisted \x1b[31m",
    next: "2026-11-21T22:01:01.000Z",
  });
  ok(!trackJson(message).includes("\x1b") && !trackJson(message).includes("\u202e"));
});

Deno.test("track: asks a running server, whatever else of the configuration is broken", async () => {
  await using place = await Place.make();
  const life = await place.open();
  await life.spool.keep(envelopeOf("Q1"), content());
  await withServer(place, life, async () => {
    const { code, out, err } = await track(place);
    equal(code, 0, err);
    match(out, /^Q1 {2}waiting\n/);
    deepEqual(await track(place, { text: "nobody@x.example" }), {
      ...{ code: 1, out: "", err: "Nothing is known of nobody@x.example.\n" },
    });
    equal((await track(place, { text: "nobody@x.example", json: true })).out, "[]\n");
    equal(JSON.parse((await track(place, { json: true })).out)[0].id, "Q1");
  });
});

Deno.test("track: a message with thousands of steps crosses the control socket", async () => {
  await using place = await Place.make();
  const life = await place.open();
  const found = { messages: [{ id: "Q1", steps: many }, message], more: true, gaps: [], behind: 3 };
  const queue = new LocalQueue(life.spool, place.clock);
  const tracking = { find: () => Promise.resolve(found) };
  const server = await ControlServer.open({
    ...{ state: place.folder, queue, tracking, clock: systemClock, log: memoryLog() },
  });
  const { out, err } = await track(place, { json: true });
  await server.close();
  deepEqual(JSON.parse(out).map(({ steps }: { steps: unknown[] }) => steps.length), [4500, 7]);
  match(err, /older ones: --limit 200[^]*3 octets of the log are not read yet/);
});

Deno.test("track: reads a stopped server's log itself, and leaves it as it was", async () => {
  await using place = await Place.make();
  const { spool } = await place.open();
  await spool.keep(envelopeOf("Q1"), content());
  await place.close();
  for (let look = 0; look < 2; look++) {
    const { code, out, err } = await track(place, { text: "Q1" });
    deepEqual([code, err], [0, ""]);
    match(out, /^Q1 {2}waiting\n/);
  }
  const again = await place.open();
  equal((await again.spool.get("Q1"))?.envelope.id, "Q1");
  const taken = await track(place, { text: "Q1" });
  equal(taken.code, 1);
  match(taken.err, /^Somebody is using .*spool, and no server answers/);
});

Deno.test("track: what is wrong is said in a sentence, with exit code 2; a server that doesn't track, with 1", async () => {
  await using place = await Place.make();
  equal((await track(place, { since: "yesterday" })).code, 2);
  match(
    (await track(place, { since: "yesterday" })).err,
    /^--since takes a duration such as 36h or 7d, or a time .*"yesterday" is neither/,
  );
  match((await track(place, { limit: "0" })).err, /^--limit takes a number from 1 to 10000/);
  match(
    (await track(place, {}, "state: .\ntracking: { keep: 1s }\n")).err,
    /postrider\.yaml:2:\d+: .*must be at least 1m/,
  );
  const off = await track(place, {}, "state: .\ntracking: { enabled: false }\n");
  deepEqual([off.code, off.out], [2, ""]);
  match(off.err, /nothing is recorded/);
  const never = await track(place, {}, "state: ./none\n");
  deepEqual([never.code, /No server has run/.test(never.err)], [1, true]);
});

Deno.test("track: --since takes durations, dates and times, UTC where no zone is given", async () => {
  await using place = await Place.make();
  const life = await place.open();
  await life.spool.keep(envelopeOf("Q1"), content());
  place.clock.step(2 * hour);
  await withServer(place, life, async () => {
    for (
      const since of ["3h", "2026-11-21", "2026-11-21T22:00", "2026-11-21 22:00Z", "2026-11-21T23:00+01:00"]
    ) {
      equal((await track(place, { since })).code, 0, since);
    }
    for (const since of ["1h", "2026-11-22", "2026-11-21T22:01"]) {
      equal((await track(place, { since })).code, 1, since);
    }
  });
});
