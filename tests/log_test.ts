import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { getLogger } from "@logtape/logtape";
import fc from "fast-check";
import { type Field, type LogOptions, openLog, toField } from "../server/log.ts";
import { jsonFormatter, textFormatter } from "../server/log/format.ts";
import { FakeClock } from "../server/testing/clock.ts";
import { memoryLog } from "../server/testing/log.ts";

const text = textFormatter(false);
const at = Date.UTC(2026, 10, 21, 22, 0, 0, 123);

/** The fields of one text line. */
function fieldsOf(value: Record<string, Field>): string {
  return text(at, "info", "e", value).slice("2026-11-21T22:00:00.123Z info  e ".length, -1);
}

/** A log into memory, on a clock that stands still. */
function opened(options: Partial<LogOptions> = {}) {
  const clock = new FakeClock(at);
  const decoder = new TextDecoder();
  const written: string[] = [];
  const log = openLog({ level: "info", format: "text", color: false, ...options }, {
    clock,
    write: (bytes) => Promise.resolve(void written.push(decoder.decode(bytes))),
  });
  return { log, clock, written };
}

/** A target that keeps each write until it is let go. */
function stuckTarget() {
  const written: string[] = [];
  const held: PromiseWithResolvers<void>[] = [];
  const write = (bytes: Uint8Array) => {
    written.push(new TextDecoder().decode(bytes));
    held.push(Promise.withResolvers());
    return held.at(-1)!.promise;
  };
  return { written, held, write };
}

Deno.test("log: a text line has time, level, event and fields", () => {
  const fields = { id: "M1", from: "<a@b.example>", size: 5120, tls: true, user: null, none: undefined };
  equal(
    text(at, "info", "message accepted", fields),
    "2026-11-21T22:00:00.123Z info  message accepted id=M1 from=<a@b.example> size=5120 tls=true user=null\n",
  );
  equal(text(at, "warning", "x", {}), "2026-11-21T22:00:00.123Z warning x\n");
});

Deno.test("log: text values are quoted where a reader could misread them", () => {
  const table: [Field, string][] = [
    ["two words", 'v="two words"'],
    ['say "hi"', 'v="say \\"hi\\""'],
    ["C:\\", 'v="C:\\\\"'],
    ["", 'v=""'],
    ["a=b", "v=a=b"],
    ["straße", 'v="straße"'],
    [["a@b", "c@d"], "v=a@b,c@d"],
    [["a b", "c"], 'v="a b,c"'],
    [1.5, "v=1.5"],
  ];
  for (const [value, line] of table) equal(fieldsOf({ v: value }), line);
});

Deno.test("X04 log: text escapes what ends a line, paints a terminal or turns text around", () => {
  equal(fieldsOf({ v: "a\r\nb" }), 'v="a\\x0d\\x0ab"');
  equal(fieldsOf({ v: "\x1b[31m\x07\x7f\x9b" }), 'v="\\x1b[31m\\x07\\x7f\\x9b"');
  equal(fieldsOf({ v: "\u2028\u2029\u202e\u2066\u200b" }), 'v="\\u2028\\u2029\\u202e\\u2066\\u200b"');
  equal(fieldsOf({ "k\n=": "v" }), "k__=v");
  match(text(at, "info", "done\nfake id=1", {}), / info {2}"done\\x0afake id=1"\n$/);
  match(text(at, "info", "verdict=accept", {}), / info {2}"verdict=accept"\n$/);
});

Deno.test("X04 log: JSON stays one object a line, and reads back as it was", () => {
  const nasty = 'a\r\n"\\\x1b[31m\x7f\x9b\u2028\u202eé😀';
  const line = jsonFormatter(at, "error", "it failed", {
    v: nasty,
    n: 1,
    no: NaN,
    list: ["a", "\n"],
    u: undefined,
  });
  match(line, /^[^\p{Cc}\u2028\u202e]*\n$/u);
  deepEqual(JSON.parse(line), {
    time: "2026-11-21T22:00:00.123Z",
    level: "error",
    event: "it failed",
    v: nasty,
    n: 1,
    no: null,
    list: ["a", "\n"],
  });
});

Deno.test("log: a JSON field can't take the place of the line's own", () => {
  const line = jsonFormatter(at, "info", "e", { level: "debug", time: 1, event: "x", __proto__: null });
  const { level, time, event, level_ } = JSON.parse(line);
  deepEqual([level, time, event, level_], ["info", "2026-11-21T22:00:00.123Z", "e", "debug"]);
});

Deno.test("O08 log: values are cut at 1 KB, never within a character", () => {
  equal(fieldsOf({ v: "x".repeat(5000) }), "v=" + "x".repeat(1024) + "…");
  const { v, list } = JSON.parse(jsonFormatter(at, "info", "e", {
    v: "x".repeat(1023) + "😀😀",
    list: Array.from({ length: 5000 }, () => "a@b.example"),
  }));
  equal(v, "x".repeat(1023) + "…");
  ok(list.length < 100 && list.at(-1) === "…");
  ok(text(at, "info", "e".repeat(5000), { a: ["x".repeat(5000)] }).length < 2200);
});

Deno.test("X04 log: whatever the strings, a text line splits into exactly its fields and JSON into its values", () => {
  const strings = fc.string({ unit: "binary", maxLength: 40 });
  fc.assert(fc.property(strings, strings, (one, two) => {
    const line = text(at, "info", "e", { one, two });
    match(line, /^[^\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]*\n$/u);
    const value = '("(?:[^"\\\\]|\\\\.)*"|[^ "\\\\]+)';
    match(line, new RegExp(`^\\S+ info {2}e one=${value} two=${value}\n$`, "u"));
    const read = JSON.parse(jsonFormatter(at, "info", "e", { one, two }));
    deepEqual([read.one, read.two], [one, two]);
  }));
});

Deno.test("log: colour is only around the level", () => {
  equal(
    textFormatter(true)(at, "error", "e", { a: "b" }),
    "2026-11-21T22:00:00.123Z \x1b[31merror\x1b[0m e a=b\n",
  );
});

Deno.test("log: levels under the configured one are not written, bound fields are", async () => {
  const { log, written } = opened({ level: "warning" });
  const session = log.with({ session: "S1" });
  session.info("no");
  session.debug("no");
  session.with({ id: "M1" }).warning("yes", { session: "S2" });
  log.error("plain");
  await log.close();
  equal(
    written.join(""),
    "2026-11-21T22:00:00.123Z warning yes session=S2 id=M1\n2026-11-21T22:00:00.123Z error plain\n",
  );
});

Deno.test("log: a reload changes level and format of logs that are already handed out", async () => {
  const { log, written } = opened();
  const session = log.with({ session: "S1" });
  session.debug("before");
  log.change({ level: "debug", format: "json" });
  session.debug("after");
  await log.close();
  equal(
    written.join(""),
    '{"time":"2026-11-21T22:00:00.123Z","level":"debug","event":"after","session":"S1"}\n',
  );
});

Deno.test("log: braces in an event are text, and what packages log through LogTape comes out too", async () => {
  const { log, written } = opened();
  log.info("braces {id} {*}", { id: "M1" });
  getLogger(["some", "package"]).warn("Lost {count} of {what}", {
    count: 3,
    what: "a\nb",
    error: new TypeError("bad"),
  });
  getLogger("package").debug("not at this level");
  await log.close();
  const lines = written.join("").split("\n");
  equal(lines.length, 3);
  match(lines[0]!, / info {2}braces \{id\} \{\*\} id=M1$/);
  match(lines[1]!, / logger=some\.package count=3 what="a\\x0ab" error="TypeError: bad"$/);
  match(lines[1]!, / warning "Lost 3 of a\\x0ab" /);
});

Deno.test("log: any value becomes a field", () => {
  const circular: unknown[] = [];
  circular.push(circular);
  deepEqual(
    [
      toField({ a: [1] }),
      toField(new Error("x")),
      toField(circular),
      toField(1n),
      toField(undefined),
      toField(null),
    ],
    ['{"a":[1]}', "Error: x", "[object Array]", "[object BigInt]", "undefined", null],
  );
});

Deno.test("log: lines of one turn are one write, those during a write the next, after a pause", async () => {
  const { written, held, write } = stuckTarget();
  const clock = new FakeClock();
  const log = openLog({ level: "info", format: "json" }, { clock, write });
  for (let n = 0; n < 100; n++) log.info("first", { n });
  await clock.advance(0);
  equal(written.length, 1);
  equal(written[0]!.split("\n").length, 101);
  log.info("second");
  log.info("third");
  await clock.advance(1000);
  equal(written.length, 1, "one write at a time");
  held[0]!.resolve();
  await clock.advance(9);
  equal(written.length, 1);
  await clock.advance(1);
  equal(written.length, 2);
  match(written[1]!, /second.*\n.*third.*\n$/);
  held[1]!.resolve();
  await log.close();
});

Deno.test("X04 log: a blocked target costs bounded memory and no waiting; a line says what was lost, in its place", async () => {
  const { written, held, write } = stuckTarget();
  const clock = new FakeClock(at);
  const limits = { lines: 10, size: 100_000, pause: 10 };
  const log = openLog({ level: "info", format: "text", color: false }, { clock, write, limits });
  log.info("first");
  await clock.advance(0);
  for (let n = 0; n < 25; n++) log.info("line", { n });
  held[0]!.resolve();
  await clock.advance(0);
  log.info("too late"); // during the pause the queue is still full
  await clock.advance(10);
  held[1]!.resolve();
  log.info("after");
  await clock.advance(10);
  const stamp = "2026-11-21T22:00:00.123Z";
  const kept = Array.from({ length: 10 }, (_, n) => `${stamp} info  line n=${n}\n`).join("");
  equal(written[1], `${kept}2026-11-21T22:00:00.133Z warning log lines lost count=16\n`);
  match(written[2]!, /^\S+ info {2}after\n$/);
  held[2]!.resolve();
  await log.close();
});

Deno.test("log: the size that waits is bounded too", async () => {
  const { written, held, write } = stuckTarget();
  const clock = new FakeClock();
  const log = openLog({ level: "info", format: "json" }, {
    clock,
    write,
    limits: { lines: 1e6, size: 2000, pause: 1 },
  });
  for (let n = 0; n < 1000; n++) log.info("a line of some length", { n });
  const closed = log.close();
  await clock.advance(0);
  held[0]!.resolve();
  await closed;
  ok(written[0]!.length < 2200, `${written[0]!.length}`);
  match(written[0]!, /"log lines lost","count":9\d\d\}\n$/);
});

Deno.test("log: lines of a failed write are counted as lost, and said once writing works", async () => {
  const clock = new FakeClock();
  const written: string[] = [];
  let broken = true;
  const write = (bytes: Uint8Array) => {
    if (broken) return Promise.reject(new Error("EPIPE"));
    written.push(new TextDecoder().decode(bytes));
    return Promise.resolve();
  };
  const log = openLog({ level: "info", format: "text", color: false }, { clock, write });
  log.info("one");
  log.info("two");
  await clock.advance(10);
  log.info("three");
  await clock.advance(10);
  broken = false;
  log.info("four");
  await log.close();
  match(written.join(""), /^\S+ warning log lines lost count=3\n\S+ info {2}four\n$/);
});

Deno.test("X04 log: flush gives up on a stuck target, so that the process can end", async () => {
  const { held, write } = stuckTarget();
  const clock = new FakeClock();
  const log = openLog({ level: "info", format: "text" }, { clock, write });
  log.info("stuck");
  let over = false;
  const closed = log.close(2000).then(() => over = true);
  await clock.advance(1999);
  equal(over, false);
  await clock.advance(1);
  await closed;
  held[0]!.resolve();
});

Deno.test("X04 log: standard error that nobody reads blocks neither the event loop nor the exit", async () => {
  const program = `
    import { openLog } from "${new URL("../server/log.ts", import.meta.url)}";
    const log = openLog({ level: "info", format: "text" });
    for (let n = 0; n < 3000; n++) log.info("x".repeat(1000), { n });
    let turns = 0;
    const timer = setInterval(async () => {
      if (++turns < 5) return;
      clearInterval(timer);
      await log.flush(50);
      console.log("alive");
      Deno.exit(0);
    }, 1);`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--ext=ts", program],
    cwd: new URL("..", import.meta.url),
    stdin: "null",
    stdout: "piped",
    stderr: "piped", // and not read until the end
  }).spawn();
  equal(await new Response(child.stdout).text(), "alive\n");
  equal((await child.status).code, 0);
  match(await new Response(child.stderr).text(), /^\S+ info {2}x{1000} n=0\n/);
});

Deno.test("memory log: keeps events with bound and own fields", () => {
  const log = memoryLog();
  log.with({ session: "S1" }).info("one", { id: "M1" });
  log.error("two");
  deepEqual(log.entries, [
    { level: "info", event: "one", fields: { session: "S1", id: "M1" } },
    { level: "error", event: "two", fields: {} },
  ]);
  equal(log.of("two").length, 1);
});
