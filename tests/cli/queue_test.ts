import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { Table } from "../../server/cli/columns.ts";
import { type QueueAction, queueCommand, type QueueIo, type QueueOptions } from "../../server/cli/queue.ts";
import { main } from "../../server/cli/main.ts";
import { systemCli } from "../../server/cli/io.ts";
import { systemClock } from "../../server/clock.ts";
import { LocalQueue } from "../../server/control/operations.ts";
import { ControlServer } from "../../server/control/server.ts";
import { LogSpool } from "../../server/spool/log.ts";
import { MemorySpool } from "../../server/spool/memory.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";
import { FakeDeliveries, fakeWays, fill, keep, minute, now } from "../control/kit.ts";

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

interface Rig {
  readonly spool: MemorySpool;
  readonly deliveries: FakeDeliveries;
  /** @param typed On the terminal that standard input is; absent: it is none. */
  run(
    action: QueueAction,
    options?: Partial<QueueOptions>,
    world?: { columns?: number; typed?: string },
  ): Promise<Said>;
}

/** A server's queue with its control socket, and a configuration that says where. */
async function withServer(test: (rig: Rig) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "postrider-queue-" });
  const clock = new FakeClock(now);
  const spool = new MemorySpool(clock);
  const deliveries = new FakeDeliveries();
  await Deno.mkdir(`${folder}/state`);
  const server = await ControlServer.open({
    state: `${folder}/state`,
    queue: new LocalQueue(spool, clock, deliveries, { ways: fakeWays }),
    clock: systemClock,
    log: memoryLog(),
  });
  const run = runIn(folder, clock);
  try {
    await test({ spool, deliveries, run });
  } finally {
    await server.close();
    await Deno.remove(folder, { recursive: true });
  }
}

function runIn(folder: string, clock: FakeClock): Rig["run"] {
  return async (action, options = {}, { columns, typed } = {}) => {
    const config = `${folder}/postrider.yaml`;
    await Deno.writeTextFile(config, "state: ./state\nlisten: broken elsewhere\n");
    let [out, err] = ["", ""];
    const octets = new TextEncoder().encode(typed);
    let at = 0;
    const io: QueueIo = {
      readTextFile: (path) => Deno.readTextFile(path),
      env: () => undefined,
      clock,
      columns: () => columns,
      stdin: {
        isTerminal: () => typed !== undefined,
        setRaw() {},
        read(into) {
          if (at === octets.length) return Promise.resolve(null);
          into[0] = octets[at++]!;
          return Promise.resolve(1);
        },
      },
      stdout: { write: (text) => void (out += text) },
      stderr: { write: (text) => void (err += text) },
      writeBytes: (bytes) => void (out += new TextDecoder().decode(bytes)),
    };
    const code = await queueCommand(action, { config, ...options }, io);
    return { code, out, err };
  };
}

const [held, deferred, strange] = ["1M806DNB400W1VEH", "1M806DNHX00W1VEH", "1M806DZZZ00W1VEH"];

// ── Looking ────────────────────────────────────────────────────────────────────────────────────────

Deno.test("queue list: an empty queue is said to be empty", () =>
  withServer(async ({ run }) => {
    deepEqual(await run("list"), { code: 0, out: "the queue is empty\n", err: "" });
    deepEqual(await run("list", {}, { columns: 80 }), { code: 0, out: "the queue is empty\n", err: "" });
    deepEqual(await run("list", { json: true }), { code: 0, out: "[]\n", err: "" });
  }));

Deno.test("queue list: 80 columns", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    const { code, out } = await run("list", {}, { columns: 80 });
    equal(code, 0);
    equal(
      out,
      `\
ID               AGE SIZE STATE    SENDER      RECIPIENT   TRY NEXT LAST REPLY
1M806DNB400W1VEH  3d  39K held     <>          someone.wi…   0    - held by an…
1M806DNHX00W1VEH  5h   24 deferred alice@here… bob@there.…   3  12m 451 4.7.1 …
1M806DNHX00W1VEH  5h   24 ready    alice@here… carol@ther…   2  now 451 4.7.1 …
1M806DZZZ00W1VEH 59s   50 ready    a\\x1b[31m@… 東京@日本.…   0  now

3 messages: 2 ready or being tried, 0 deferred, 1 held; the oldest came 3 days ago
`,
    );
  }));

Deno.test("queue list: 120 columns, with a destination that sleeps", () =>
  withServer(async ({ run, spool, deliveries }) => {
    await fill(spool);
    deliveries.active.add(strange!);
    const reply = "4.4.1 Connection\r\n refused";
    deliveries.asleep = [{ destination: "smtp there.example", until: now + 12 * minute, why: { reply } }];
    const { out } = await run("list", {}, { columns: 120 });
    equal(
      out,
      `\
ID                AGE  SIZE  STATE     SENDER                  RECIPIENT               TRY  NEXT  LAST REPLY
1M806DNB400W1VEH   3d   39K  held      <>                      someone.with.a.long.n…    0     -  held by an operator
1M806DNHX00W1VEH   5h    24  deferred  alice@here.example      bob@there.example         3   12m  451 4.7.1 Greylisted,…
1M806DNHX00W1VEH   5h    24  ready     alice@here.example      carol@there.example       2   now  451 4.7.1 Greylisted,…
1M806DZZZ00W1VEH  59s    50  active    a\\x1b[31m@here.example  東京@日本.example         0     -

3 messages: 2 ready or being tried, 0 deferred, 1 held; the oldest came 3 days ago
smtp there.example can't be reached, next try in 12 minutes: 4.4.1 Connection\\x0d\\x0a refused
`,
    );
  }));

Deno.test("queue list: into a pipe nothing is cut, and nothing stands below", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    const { out } = await run("list");
    equal(
      out,
      `\
ID                AGE  SIZE  STATE     SENDER                  RECIPIENT                                  TRY  NEXT  LAST REPLY
1M806DNB400W1VEH   3d   39K  held      <>                      someone.with.a.long.name@far-away.example    0     -  held by an operator
1M806DNHX00W1VEH   5h    24  deferred  alice@here.example      bob@there.example                            3   12m  451 4.7.1 Greylisted, please try again in five minutes
1M806DNHX00W1VEH   5h    24  ready     alice@here.example      carol@there.example                          2   now  451 4.7.1 Greylisted, please try again in five minutes
1M806DZZZ00W1VEH  59s    50  ready     a\\x1b[31m@here.example  東京@日本.example                            0   now
`,
    );
  }));

Deno.test("queue list: lines fit any terminal that has room for the firm columns", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    for (let columns = 80; columns < 200; columns += 7) {
      const { out } = await run("list", {}, { columns });
      const [table] = out.split("\n\n");
      const widths = table!.split("\n").filter((line) => !line.includes("東")).map((line) => line.length);
      ok(Math.max(...widths) <= columns, `${columns}: ${Math.max(...widths)}`);
    }
  }));

Deno.test("queue list: a long queue has one head, and rows behind the first ones are laid out the same", () =>
  withServer(async ({ run, spool }) => {
    for (let i = 0; i < 600; i++) {
      await keep(spool, `M${String(i).padStart(15, "0")}`, { age: i, to: ["a@x.example"] });
    }
    const { out } = await run("list", {}, { columns: 80 });
    const lines = out.split("\n\n")[0]!.split("\n");
    equal(lines.length, 601);
    equal(new Set(lines.map((line) => line.indexOf("a@x.example"))).size, 2); // -1 in the head
  }));

Deno.test("queue list --json: one array, as scripts know it", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    const { code, out } = await run("list", { json: true }, { columns: 80 });
    equal(code, 0);
    const listed = JSON.parse(out) as Record<string, unknown>[];
    equal(listed.length, 3);
    deepEqual(listed[1], {
      id: deferred,
      received: "2026-11-21T17:00:00.000Z",
      sender: "alice@here.example",
      size: 24,
      state: "ready",
      recipients: [
        {
          address: "bob@there.example",
          state: "deferred",
          attempts: 3,
          nextAttempt: "2026-11-21T22:12:00.000Z",
          lastReply: "451 4.7.1 Greylisted, please try again in five minutes",
        },
        {
          address: "carol@there.example",
          state: "ready",
          attempts: 2,
          nextAttempt: "2026-11-21T21:59:59.000Z",
          lastReply: "451 4.7.1 Greylisted, please try again in five minutes",
        },
      ],
    });
    deepEqual(listed.map(({ state }) => state), ["held", "ready", "ready"]);
    equal(listed[2]!["sender"], "a\x1b[31m@here.example");
    ok(!/\p{Cc}/u.test(out.replaceAll("\n", "")));
  }));

Deno.test("queue show: everything that is known", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    const { code, out, err } = await run("show", { ids: [deferred!] });
    deepEqual([code, err], [0, ""]);
    equal(
      out,
      `\
1M806DNHX00W1VEH
  received    2026-11-21 17:00:00 UTC, 5 hours ago
  sender      alice@here.example
  size        24 octets
  state       ready
  brought by  192.0.2.7, as client.example, user alice@here.example
  asked for   RET=HDRS ENVID=E1

to bob@there.example
  state       deferred
  by          smtp
  attempts    3
  next        2026-11-21 22:12:00 UTC, in 12 minutes
  last reply  451 4.7.1 Greylisted, please try again in five minutes
  sender      was told of the delay

to carol@there.example
  given as    team@here.example
  state       ready
  by          smtp
  attempts    2
  next        now
  last reply  451 4.7.1 Greylisted, please try again in five minutes

to dora@x.example
  state       delivered
  by          smtp
  last reply  250 2.0.0 OK

header
  Received: from client.example
    by mx.here.example
  Subject: hello
`,
    );
  }));

Deno.test("O08 queue show: what a peer has sent can't command a terminal", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    for (const options of [{}, { content: true }, { json: true }]) {
      const { out } = await run("show", { ids: [strange!], ...options }, { columns: 80 });
      ok(!/\p{Cc}/u.test(out.replaceAll(/[\n\t]/g, "")), out);
    }
    const { out } = await run("show", { ids: [strange!], content: true }, { columns: 80 });
    match(out, /^Subject: \\x1b\]0;owned\\x07\nX-A: 1\n\tfolded\n\nb\\x1b\[2Jody\n$/m);
  }));

Deno.test("queue show --content: into a pipe octet by octet", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    const { code, out } = await run("show", { ids: [strange!], content: true });
    equal(code, 0);
    const received = "Received: from client.example\r\n\tby mx.here.example\r\n";
    equal(out, `${received}Subject: \x1b]0;owned\x07\r\nX-A: 1\r\n\tfolded\r\n\r\nb\x1b[2Jody\r\n`);
  }));

Deno.test("queue show --json: an array of all that is known", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    const { code, out, err } = await run("show", { ids: [held!, "NOBODY", deferred!], json: true });
    equal(code, 1);
    match(err, /^NOBODY is not in the queue/);
    const shown = JSON.parse(out) as { id: string; held: string | null; recipients: { state: string }[] }[];
    deepEqual(shown.map(({ id, held }) => [id, held]), [[held, "by an operator"], [deferred, null]]);
    deepEqual(shown[1]!.recipients.map(({ state }) => state), ["deferred", "ready", "delivered"]);
    deepEqual(JSON.parse((await run("show", { ids: ["NOBODY"], json: true })).out), []);
  }));

// ── Changing ───────────────────────────────────────────────────────────────────────────────────────

Deno.test("queue: an id that is not there is a sentence and exit code 1, the others are done", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    const { code, out, err } = await run("hold", { ids: [deferred!, "NO\x1bBODY"], reason: "to look at it" });
    equal(code, 1);
    equal(out, `${deferred} is held.\n`);
    equal(err, "NO\\x1bBODY is not in the queue.\n");
    equal((await spool.get(deferred!))?.held, "to look at it");
    for (const action of ["show", "retry", "release", "delete"] as const) {
      const said = await run(action, { ids: ["NOBODY"] });
      equal(said.code, 1);
      match(said.err, /^NOBODY is not in the queue/);
    }
  }));

Deno.test("queue retry: of a held one says so and does nothing", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    deepEqual(await run("retry", { ids: [held!] }), {
      code: 1,
      out: "",
      err: `${held} is held, nothing was done: \`queue release ${held}\` lets it go.\n`,
    });
    deepEqual(await run("hold", { ids: [held!] }), { code: 0, out: `${held} is held already.\n`, err: "" });
    deepEqual(await run("release", { ids: [held!] }), {
      code: 0,
      out: `${held} is released, and is tried now.\n`,
      err: "",
    });
    deepEqual(await run("retry", { ids: [deferred!, deferred!] }), {
      code: 0,
      out: `${deferred} is tried now.\n`,
      err: "",
    });
  }));

Deno.test("queue delete: asks on a terminal, and anything but a yes is a no", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    for (const typed of ["\n", "n\n", "yess\n", "", "y".repeat(200)]) {
      const { code, err } = await run("delete", { ids: [held!] }, { typed });
      equal(code, 1);
      equal(
        err,
        `Delete message ${held} for good? Neither senders nor recipients are told. [y/N] Nothing was done.\n`,
      );
    }
    equal(spool.size, 3);
    const { code, out, err } = await run("delete", { ids: [held!, deferred!] }, { typed: "y\n" });
    deepEqual([code, out], [0, `${held} is deleted.\n${deferred} is deleted.\n`]);
    match(err, /^Delete 2 messages for good\?/);
  }));

Deno.test("queue delete: --yes asks nobody, and a script is asked nothing", () =>
  withServer(async ({ run, spool, deliveries }) => {
    await fill(spool);
    deepEqual(await run("delete", { ids: [held!], yes: true }, { typed: "" }), {
      code: 0,
      out: `${held} is deleted.\n`,
      err: "",
    });
    deliveries.active.add(strange!);
    const { code, out } = await run("delete", { ids: [strange!] });
    equal(code, 0);
    equal(out, `${strange} is deleted, but an attempt was under way already: its outcome counts.\n`);
    equal(spool.size, 1);
  }));

Deno.test("queue retry --all: says how many, and asks", () =>
  withServer(async ({ run, spool, deliveries }) => {
    await fill(spool);
    const unasked = await run("retry", { all: true });
    deepEqual([unasked.code, unasked.err], [2, "That is 2 messages. Say --yes to try them all now.\n"]);
    equal((await run("retry", { all: true }, { typed: "n\n" })).code, 1);
    equal(deliveries.roused, 0);
    const { code, out, err } = await run("retry", { all: true }, { typed: "yes\n" });
    deepEqual([code, out, err], [0, "2 messages are tried now.\n", "Try 2 messages now? [y/N] "]);
    equal(deliveries.roused, 1);
    deepEqual(JSON.parse((await run("retry", { all: true, yes: true, json: true })).out), { count: 2 });
  }));

Deno.test("queue: with --json what was done is JSON", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    const { code, out } = await run("hold", { ids: [deferred!, "NOBODY"], json: true });
    equal(code, 1);
    deepEqual(JSON.parse(out), [
      { id: deferred, outcome: "done", underWay: false },
      { id: "NOBODY", outcome: "unknown", underWay: false },
    ]);
  }));

Deno.test("queue: misuse is exit code 2, with what to do", () =>
  withServer(async ({ run }) => {
    const mistakes: [QueueAction, Partial<QueueOptions>, RegExp][] = [
      ["list", { ids: ["A"] }, /takes no ids: `queue show` does/],
      ["retry", {}, /needs the id of a message, --where or --all: `queue list` shows them/],
      ["hold", {}, /needs the id of a message, or --where: /],
      ["retry", { ids: ["A"], all: true }, /takes ids, --where or --all, one of them/],
      ["delete", { ids: ["A"], where: "state = held" }, /takes ids or --where, one of them/],
      ["redirect", { ids: ["A"] }, /needs --to, --host or --transport: where to\?/],
      ["show", { ids: ["A", "B"], content: true }, /one id/],
      ["show", { ids: ["A"], content: true, json: true }, /not both/],
      ["list", { config: "/nowhere.yaml" }, /^\/nowhere\.yaml:1:1: /],
    ];
    for (const [action, options, sentence] of mistakes) {
      const { code, err } = await run(action, options);
      equal(code, 2, sentence.source);
      match(err, sentence);
    }
  }));

// ── By expression ──────────────────────────────────────────────────────────────────────────────────

Deno.test("queue --where: bulk operations say how many, and ask; --yes and a no", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    const where = "recipient ~ carol or state = held";
    const asked = await run("delete", { where }, { typed: "n\n" });
    deepEqual(asked, {
      code: 1,
      out: "",
      err: "Delete 2 recipients of 2 messages for good? Neither senders nor recipients are told. [y/N] " +
        "Nothing was done.\n",
    });
    const silent = await run("delete", { where });
    deepEqual([silent.code, silent.err], [
      2,
      "That is 2 recipients of 2 messages. Say --yes to delete them.\n",
    ]);
    equal(spool.size, 3);
    equal(
      (await run("hold", { where }, { typed: "n\n" })).err.split("[")[0],
      "Hold 1 message, with all their recipients? ",
    );
    const hold = await run("hold", { where, yes: true, reason: "odd" });
    equal(hold.out, "1 message is held.\n1 message is held already.\n");
    equal(
      (await run("retry", { where, yes: true })).out,
      "0 messages are tried now.\n2 messages are held: `queue release` lets them go.\n",
    );
    equal(
      (await run("release", { where }, { typed: "y\n" })).out,
      "2 messages are released, and tried now.\n",
    );
    equal((await run("delete", { where, yes: true })).out, "1 recipient of 1 message is deleted.\n");
    equal(
      (await run("delete", { where: "size > 1GiB", json: true })).out,
      '{"messages":0,"recipients":0,"partial":0,"held":0,"underWay":0}\n',
    );
    deepEqual((await spool.get(deferred!))?.states.map(({ state }) => state), ["due", "failed", "delivered"]);
  }));

Deno.test("queue --where: an expression that doesn't parse is exit code 2, and nothing is asked", () =>
  withServer(async ({ run }) => {
    for (const action of ["list", "summary", "delete", "export", "redirect"] as const) {
      const { code, err } = await run(action, {
        where: "domain = x.example and atempts > 3",
        way: { to: "a@x.example" },
      });
      deepEqual([code, err], [
        2,
        '--where: "atempts" is nothing that can be asked about: did you mean attempts?\n' +
        "  domain = x.example and atempts > 3\n" +
        "                         ^\n",
      ]);
    }
  }));

Deno.test("queue list --where: its rows, and what to say where there are none", () =>
  withServer(async ({ run, spool }) => {
    await fill(spool);
    const rows = (await run("list", { where: "attempts >= 2" })).out.trimEnd().split("\n");
    deepEqual(rows.slice(1).map((row) => row.split(/ +/)[5]), ["bob@there.example", "carol@there.example"]);
    equal((await run("list", { where: "size > 1GiB" })).out, "nothing in the queue is so\n");
  }));

Deno.test("queue redirect: by id and by expression, in words", () =>
  withServer(async ({ run, spool, deliveries }) => {
    await fill(spool);
    deliveries.active.add(strange!);
    const way = { to: "archive@here.example" };
    deepEqual(await run("redirect", { ids: [strange!, "NOBODY"], way }), {
      code: 1,
      out:
        `${strange} goes to archive@here.example, but an attempt was under way already: its outcome counts.\n`,
      err: "NOBODY is not in the queue.\n",
    });
    const bulk = await run("redirect", {
      where: "domain = there.example",
      way: { host: { host: "mx.example", port: 26 } },
    }, { typed: "y\n" });
    deepEqual([bulk.err, bulk.out], [
      "Send 1 message to mx.example:26 instead? [y/N] ",
      "1 message is redirected to mx.example:26.\n",
    ]);
    deepEqual(await run("redirect", { ids: [deferred!], way: { to: "team@here.example" } }), {
      code: 1,
      out: "",
      err: "team@here.example is several: a@x.example, b@x.example. Redirect to one of them.\n",
    });
    const shown = (await run("show", { ids: [deferred!] })).out;
    match(shown, /by {10}smtp, through mx\.example:26/);
  }));

Deno.test("queue export: an mbox on standard output, files in a directory that are never overwritten", () =>
  withServer(async ({ run, spool }) => {
    await keep(spool, "A", {
      age: 0,
      sender: "",
      to: ["a@x.example"],
      text: "Subject: 1\r\n\r\nFrom here\r\n",
    });
    await keep(spool, "B", {
      age: minute,
      to: [{ address: "b@x.example", own: ["Delivered-To: b@x.example\r\n"] }],
      text: "Subject: 2\r\n\r\n>From there",
    });
    const received = "Received: from client.example\n\tby mx.here.example\n";
    const first = `From MAILER-DAEMON Sat Nov 21 22:00:00 2026\n${received}Subject: 1\n\n>From here\n\n`;
    const second =
      `From alice@here.example Sat Nov 21 21:59:00 2026\n${received}Delivered-To: b@x.example\n` +
      "Subject: 2\n\n>>From there\n\n";
    deepEqual(await run("export", { all: true }), {
      code: 0,
      out: first + second,
      err: "2 messages exported.\n",
    });
    deepEqual(await run("export", { ids: ["B", "NOBODY"] }), {
      code: 1,
      out: second,
      err: "NOBODY is not in the queue any more.\n1 message exported.\n",
    });
    equal((await run("export", { where: "sender = <>" })).out, first);
    match((await run("export", { all: true }, { columns: 80 })).err, /say `> FILE`, or --directory/);

    const directory = await Deno.makeTempDir({ prefix: "postrider-export-" });
    try {
      const into = `${directory}/new/er`;
      equal((await run("export", { where: "recipient ~ b@", directory: into })).code, 0);
      const text = await Deno.readTextFile(`${into}/B.eml`);
      match(
        text,
        /^Received: .*\r\n\tby mx\.here\.example\r\nDelivered-To: b@x\.example\r\nSubject: 2\r\n\r\n>From there$/,
      );
      equal((await Deno.stat(`${into}/B.eml`)).mode! & 0o777, 0o600);
      await Deno.writeTextFile(`${into}/B.eml`, "mine");
      const again = await run("export", { all: true, directory: into });
      deepEqual([again.code, again.err], [
        1,
        `${into}/B.eml is there already, and stays as it is.\n1 message exported to ${into}.\n`,
      ]);
      equal(await Deno.readTextFile(`${into}/B.eml`), "mine");
      equal((await run("export", { ids: ["NOBODY"], directory: into })).code, 1);
      deepEqual(Array.from(Deno.readDirSync(into), ({ name }) => name).sort(), ["A.eml", "B.eml"]);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  }));

Deno.test("queue summary: 80 columns, and as JSON", () =>
  withServer(async ({ run, spool }) => {
    equal((await run("summary")).out, "nothing waits\n");
    await fill(spool);
    const { out } = await run("summary", { top: 2 }, { columns: 80 });
    equal(
      out,
      `\
DESTINATION        T   5  10  20  40  80 160 320 640 1280 1280+
TOTAL              4   1   .   .   .   .   .   2   .    .     1
there.example      2   .   .   .   .   .   .   2   .    .     .
far-away.example   1   .   .   .   .   .   .   .   .    .     1
… and 1 more: --top 3 shows them

DESTINATION      COUNT REASON
there.example        2 451 4.7.1 Greylisted, please try again in five minutes
far-away.example     1 held by an operator

4 recipients of 3 messages: 2 ready, 0 being tried, 1 deferred, 1 held.
Columns are minutes since it came; T is all.
`,
    );
    const json = JSON.parse((await run("summary", { json: true, by: "sender" })).out);
    deepEqual([json.by, json.messages, json.rows[0].name, json.total.ages.older], [
      "sender",
      3,
      "here.example",
      1,
    ]);
  }));

// ── A stopped server, the real command ─────────────────────────────────────────────────────────────

Deno.test("queue, stopped: works on the spool itself, and says when it takes effect", async () => {
  const folder = await Deno.makeTempDir({ prefix: "postrider-queue-" });
  try {
    const clock = new FakeClock(now);
    const run = runIn(folder, clock);
    deepEqual(await run("list"), {
      code: 0,
      out: "the queue is empty\n",
      err: `No server has run with the state directory ${folder}/state yet.\n`,
    });
    const spool = await LogSpool.open(`${folder}/state/spool`, { clock, log: memoryLog(), reserve: 0 });
    await fill(spool);
    const { code, err } = await run("list");
    equal(code, 1);
    match(err, /^Somebody is using .*\/state\/spool, and no server answers: /);
    await spool.close();
    equal((await run("retry", { ids: [deferred!] })).out, `${deferred} is tried when the server starts.\n`);
    equal((await run("delete", { ids: [held!], yes: true })).code, 0);
    const listed = JSON.parse((await run("list", { json: true })).out) as { id: string; state: string }[];
    deepEqual(listed.map(({ id, state }) => [id, state]), [[deferred, "ready"], [strange, "ready"]]);
    const redirect = (way: QueueOptions["way"]) => run("redirect", { ids: [deferred!], way });
    match(
      (await redirect({ to: "a@x.example" })).err,
      /only the plugins of a running server know: start it, or say/,
    );
    equal(
      (await redirect({ to: "a@x.example", via: "smtp" })).out,
      `${deferred} goes to a@x.example by smtp.\n`,
    );
    const [first] = JSON.parse((await run("list", { json: true, where: "domain = x.example" })).out);
    deepEqual(first.recipients.map(({ address }: { address: string }) => address), [
      "a@x.example",
      "a@x.example",
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("queue: the command line knows the group, and says what is missing", async () => {
  const call = async (...args: string[]) => {
    let text = "";
    const stream = { write: (more: string) => void (text += more) };
    const code = await main(["queue", ...args], { ...systemCli, stdout: stream, stderr: stream });
    return { code, text };
  };
  const missing = await call("show", "--config", "x.yaml");
  deepEqual([missing.code, /missing required argument 'id'/.test(missing.text)], [2, true]);
  match(
    (await call("--help")).text,
    /list .*\n.*show .*\n.*summary .*\n.*retry .*\n.*hold .*\n.*release .*\n.*redirect .*\n.*delete .*\n.*export /,
  );
  const retry = await call("retry", "--all", "--yes", "--config", "/nowhere.yaml");
  deepEqual([retry.code, /^\/nowhere\.yaml:1:1: /.test(retry.text)], [2, true]);
});

// ── Columns ────────────────────────────────────────────────────────────────────────────────────────

Deno.test("columns: wide characters are counted as terminals show them, and never cut in half", () => {
  const columns = [
    { title: "A", align: "left", kind: "shrinks", least: 1 },
    { title: "B", align: "right", kind: "firm", least: 3 },
  ] as const;
  const table = new Table(columns, [["東京東京東京東京", "1"]], 13);
  equal(table.row(["東京東京東京東京", "1"]), "東京東京…   1");
  equal(table.row(["e\u0301".repeat(9), "22"]), `${"e\u0301".repeat(9)}  22`);
  equal(table.row(["🙂x", "333"]), "🙂x       333");
  equal(table.row(["\x1b[2J\u202e", "4"]), "\\x1b[2J…   4".replace("2J…", "2J\\…"));
});
