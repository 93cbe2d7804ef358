import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal, throws } from "node:assert/strict";
import { type Body, type Content, memoryContent } from "../../server/message/content.ts";
import { EditableMessage, SealedMessage } from "../../server/message/message.ts";
import { concat } from "../../server/message/render.ts";
import { bytes, piecewise, text } from "./bytes.ts";

const letter = "A: 1\r\nSubject: hello\r\n\r\nfirst\r\nsecond\r\n";

/** Bodies in memory that tell what became of them. */
function bodies() {
  const made: { state: "open" | "finished" | "discarded" }[] = [];
  return {
    made,
    create(): Body {
      const pieces: Uint8Array[] = [];
      const fate: { state: "open" | "finished" | "discarded" } = { state: "open" };
      made.push(fate);
      return {
        get size() {
          return concat(pieces).length;
        },
        write(piece) {
          if (fate.state !== "open") throw new TypeError(fate.state);
          pieces.push(piece.slice());
        },
        finish() {
          fate.state = "finished";
          return Promise.resolve(memoryContent(concat(pieces)));
        },
        discard() {
          fate.state = "discarded";
          return Promise.resolve();
        },
      };
    },
  };
}

function message(content: string | Content = letter, made = bodies()): EditableMessage {
  return new EditableMessage(
    "Q1",
    typeof content === "string" ? memoryContent(bytes(content)) : content,
    made.create,
    "mx.example.org",
  );
}

async function read(of: { bytes(): Promise<Uint8Array> }): Promise<string> {
  return text(await of.bytes());
}

function stream(...pieces: string[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  return ReadableStream.from(pieces.map(bytes));
}

const inFile = (octets: Uint8Array<ArrayBuffer>) => piecewise(octets, 7);
for (const [where, content] of [["memory", memoryContent], ["a file", inFile]] as const) {
  Deno.test(`message: a sealed one in ${where} gives its octets in every way`, async () => {
    const octets: Content = content(bytes(letter));
    const sealed = new SealedMessage("Q1", octets, { pieces: ["X: 1\r\n"], rest: 6 }, [
      "Return-Path: <a@b>\r\n",
      "R: 2\r\n",
    ]);
    const expected = `Return-Path: <a@b>\r\nR: 2\r\nX: 1\r\n${letter.slice(6)}`;
    equal(sealed.id, "Q1");
    equal(sealed.size, expected.length);
    equal(await read(sealed), expected);
    equal(text(concat(await Array.fromAsync(sealed.stream()))), expected);
    deepEqual(
      (await Array.fromAsync(sealed.lines())).map(text).join("|"),
      expected.replaceAll("\r\n", "\r\n|").slice(0, -1),
    );
    deepEqual([...sealed.headers], [["Return-Path", "<a@b>"], ["R", "2"], ["X", "1"], ["Subject", "hello"]]);
    equal(sealed.headers, sealed.headers);
  });

  Deno.test(`message: bytes() over its maximum throws and says what to do (${where})`, async () => {
    const sealed = new SealedMessage("Q1", content(bytes(letter)));
    equal((await sealed.bytes(letter.length)).length, letter.length);
    await rejects(sealed.bytes(letter.length - 1), {
      name: "RangeError",
      message: "The message has 39 octets, more than the 38 that bytes() was to give. " +
        "Read it by stream() or lines(), or ask for more.",
    });
    const large = new SealedMessage("Q1", content(new Uint8Array(1024 * 1024 + 1)));
    await rejects(large.bytes(), RangeError);
  });

  Deno.test(`message: whoever gets octets may change them (${where})`, async () => {
    const octets: Content = content(bytes(letter));
    const sealed = new SealedMessage("Q1", octets);
    (await sealed.bytes()).fill(0);
    for await (const piece of sealed.stream()) piece.fill(0);
    for await (const line of sealed.lines()) line.fill(0);
    equal(await read(sealed), letter);
  });
}

Deno.test("message: in memory and without edits, rendering copies nothing", () => {
  const octets = bytes(letter);
  equal(new SealedMessage("Q1", memoryContent(octets)).render(), octets);
  equal(message(memoryContent(octets)).sealed().render(), octets);
});

Deno.test("message: an edit is seen by later plugins, not in asReceived", async () => {
  const mail = message();
  const first = mail.editing("first");
  first.view.prependHeader("X-First", "1");
  first.view.insertHeader(2, "X-Second", "2");
  first.view.removeHeader("a");
  first.view.replaceHeader("subject", "bye");
  first.close();

  const { view, close } = mail.editing("second");
  const expected = "X-First: 1\r\nX-Second: 2\r\nsubject: bye\r\n\r\nfirst\r\nsecond\r\n";
  equal(view.headers.get("Subject"), "bye");
  deepEqual(view.headers.all("x-first"), ["1"]);
  deepEqual([...view.headers].length, 3);
  equal(view.size, expected.length);
  equal(await read(view), expected);
  equal(text(concat(await Array.fromAsync(view.stream()))), expected);
  equal(text((await Array.fromAsync(view.lines()))[2]!), "subject: bye\r\n");
  equal(view.id, "Q1");
  equal(await read(view.asReceived), letter);
  equal(view.asReceived.headers.get("subject"), "hello");
  close();
  deepEqual(mail.trace, [
    { plugin: "first", edit: "prependHeader", name: "X-First" },
    { plugin: "first", edit: "insertHeader", name: "X-Second" },
    { plugin: "first", edit: "removeHeader", name: "a" },
    { plugin: "first", edit: "replaceHeader", name: "subject" },
  ]);
});

Deno.test("message: each edit after the turn throws, and names the plugin", async () => {
  const mail = message();
  const late = mail.editing("late");
  late.close();
  late.close();
  const other = mail.editing("other");
  const { view } = late;
  const expected = {
    name: "TypeError",
    message: /^The plugin late edits a message after its hook has returned/,
  };
  throws(() => view.prependHeader("X", "1"), expected);
  throws(() => view.insertHeader(0, "X", "1"), expected);
  throws(() => view.replaceHeader("X", "1"), expected);
  throws(() => view.removeHeader("A"), expected);
  await rejects(view.replaceBody(stream("x\r\n")), expected);
  equal(await read(view), letter, "reading goes on to work");
  other.view.prependHeader("X", "1");
  deepEqual(mail.trace.map((edit) => edit.plugin), ["other"]);
});

Deno.test("message: a bad edit throws and changes nothing", () => {
  const mail = message();
  const { view } = mail.editing("p");
  throws(() => view.prependHeader("X", "1\r\nBcc: a"), TypeError);
  throws(() => view.removeHeader("X:"), TypeError);
  deepEqual([mail.trace.length, mail.edits.pieces.length], [0, 0]);
});

Deno.test("message: what was sealed stays as it was", async () => {
  const mail = message();
  const { view } = mail.editing("p");
  view.prependHeader("X", "1");
  const sealed = mail.sealed(["R: 2\r\n"]);
  view.prependHeader("Y", "1");
  equal(await read(sealed), `R: 2\r\nX: 1\r\n${letter}`);
});

Deno.test("message: a fork takes what an observed plugin does, the message nothing of it", async () => {
  const made = bodies();
  const mail = message(letter, made);
  mail.editing("p").view.prependHeader("X", "1");
  const fork = mail.fork();
  const { view } = fork.editing("observed");
  view.prependHeader("Y", "2");
  await view.replaceBody(stream("new\r\n"));
  equal(await read(view), "Y: 2\r\nX: 1\r\nA: 1\r\nSubject: hello\r\n\r\nnew\r\n");
  equal(await read(view.asReceived), letter);
  equal(await read(mail.sealed()), `X: 1\r\n${letter}`);
  deepEqual(fork.trace.map((edit) => edit.edit), ["prependHeader", "replaceBody"]);
  equal(mail.trace.length, 1);
  await fork.discard();
  deepEqual(made.made, [{ state: "discarded" }]);
});

const headers: readonly (readonly [it: string, content: string, out: string])[] = [
  ["is ordinary", letter, "A: 1\r\nSubject: hello\r\n\r\nnew\r\n"],
  ["is empty", "\r\nold", "\r\nnew\r\n"],
  ["is not there", "From x\r\nold", "\r\nnew\r\n"],
  ["ends without empty line", "A: 1\r\nHello\r\n", "A: 1\r\n\r\nnew\r\n"],
  ["ends with the content", "A: 1", "A: 1\r\n\r\nnew\r\n"],
];
for (const [it, content, out] of headers) {
  Deno.test(`message: replaceBody where the header ${it}`, async () => {
    const mail = message(content);
    const { view } = mail.editing("p");
    await view.replaceBody(stream("n", "ew\r", "\n"));
    equal(await read(view), out);
    equal(await read(view.asReceived), content);
    view.insertHeader(0, "X", "1");
    view.insertHeader(99, "Y", "2");
    equal(await read(mail.sealed()), `X: 1\r\n${out.replace(/(^|\r\n)\r\n/, "$1Y: 2\r\n\r\n")}`);
  });
}

Deno.test("message: replaceBody takes a text, whose line ends become CRLF, and octets, whose line ends must be", async () => {
  const mail = message();
  const { view } = mail.editing("p");
  await view.replaceBody("one\ntwo\r\nthree\rfour\n");
  equal(await read(view), "A: 1\r\nSubject: hello\r\n\r\none\r\ntwo\r\nthree\r\nfour\r\n");
  await view.replaceBody(bytes("octets\r\n"));
  equal(await read(view), "A: 1\r\nSubject: hello\r\n\r\noctets\r\n");
  await rejects(view.replaceBody(bytes("alone\n")), TypeError);
});

Deno.test("message: replaceBody keeps the edits made before, and the spool's edits fit its content", async () => {
  const mail = message();
  const { view } = mail.editing("p");
  view.removeHeader("A");
  view.prependHeader("X", "1");
  await view.replaceBody(stream("new\r\n"));
  view.insertHeader(99, "Y", "2");
  equal(
    await read(new SealedMessage("Q1", mail.content, JSON.parse(JSON.stringify(mail.edits)))),
    await read(view),
  );
  equal(await read(view), "X: 1\r\nSubject: hello\r\nY: 2\r\n\r\nnew\r\n");
  deepEqual(mail.trace.at(-2), { plugin: "p", edit: "replaceBody", name: undefined });
});

for (const pieces of [["a\nb"], ["a\rb"], ["a\r", "b"], ["a", "\nb"], ["a\r"], ["a\r\n", "\n"]]) {
  Deno.test(`message: replaceBody refuses ${JSON.stringify(pieces)}: lines end with CRLF`, async () => {
    const made = bodies();
    const mail = message(letter, made);
    await rejects(mail.editing("p").view.replaceBody(stream(...pieces)), {
      name: "TypeError",
      message: /CRLF/,
    });
    deepEqual(made.made, [{ state: "discarded" }]);
    equal(await read(mail.sealed()), letter);
    equal(mail.trace.length, 0);
  });
}

Deno.test("message: replaceBody takes a body made of this one", async () => {
  const mail = message();
  const { view } = mail.editing("p");
  const { headers } = view;
  async function* shouting() {
    let inBody = false;
    for await (const line of view.lines()) {
      if (inBody) yield bytes(text(line).toUpperCase());
      if (text(line) === "\r\n") inBody = true;
    }
  }
  await view.replaceBody(ReadableStream.from(shouting()));
  equal(await read(view), "A: 1\r\nSubject: hello\r\n\r\nFIRST\r\nSECOND\r\n");
  equal(headers.get("A"), "1");
});

Deno.test("message: replaceBody that is not awaited is undone when the turn ends", async () => {
  const made = bodies();
  const mail = message(letter, made);
  const { view, close } = mail.editing("p");
  let cancelled = false;
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (controller) => controller.enqueue(bytes("x\r\n")),
    cancel() {
      cancelled = true;
    },
  });
  const replaced = view.replaceBody(source);
  await rejects(view.replaceBody(stream("y\r\n")), { name: "TypeError", message: /being replaced already/ });
  close();
  await rejects(replaced, { name: "TypeError", message: /after its hook has returned/ });
  ok(cancelled);
  deepEqual(made.made, [{ state: "discarded" }]);
  equal(await read(mail.sealed()), letter);
});

Deno.test("message: replaceBody passes on what the stream throws, and what it is given must be octets", async () => {
  const mail = message();
  const { view } = mail.editing("p");
  const broken = new ReadableStream({
    start: (controller) => controller.error(new Error("no more")),
  });
  await rejects(view.replaceBody(broken), /no more/);
  await rejects(view.replaceBody(ReadableStream.from(JSON.parse('["text"]'))), /not a stream of Uint8Array/);
  equal(await read(mail.sealed()), letter);
});

Deno.test("message: discard discards what replaceBody made", async () => {
  const made = bodies();
  const mail = message(letter, made);
  const { view } = mail.editing("p");
  await view.replaceBody(stream("1\r\n"));
  await view.replaceBody(stream("2\r\n"));
  deepEqual(made.made, [{ state: "finished" }, { state: "finished" }]);
  await mail.discard();
  await mail.discard();
  deepEqual(made.made, [{ state: "discarded" }, { state: "discarded" }]);
});

Deno.test("message: D05 a header over 256 KiB is read as far as it is one, and goes out as it came", async () => {
  const content = `A: 1\r\nB: ${"x".repeat(300_000)}\r\nC: 1\r\n\r\nbody`;
  for (const mail of [message(content), message(piecewise(bytes(content), 65_536))]) {
    const { view } = mail.editing("p");
    deepEqual([...view.headers], [["A", "1"]]);
    view.insertHeader(9, "X", "1");
    equal(await read(view), content.replace("B:", "X: 1\r\nB:"));
    deepEqual([...mail.sealed(["R: 1\r\n"]).headers], [["R", "1"], ["A", "1"], ["X", "1"]]);
  }
});

Deno.test("message: one of several fields of a name is removed or replaced by its index, the others stay octet by octet", async () => {
  const mail = message("A: 1\r\nR: one\r\nr : two\r\n  more\r\nB: 2\r\nR:three\r\n\r\nx\r\n");
  const { view } = mail.editing("p");
  view.replaceHeader("r", "new", 2);
  view.removeHeader("R", 0);
  view.removeHeader("R", 7);
  view.replaceHeader("R", "no", 7);
  equal(await read(mail.sealed()), "A: 1\r\nr : two\r\n  more\r\nB: 2\r\nr: new\r\n\r\nx\r\n");
  deepEqual([...view.headers.all("r")], ["two  more", "new"]);
  for (const index of [-1, 0.5, NaN]) {
    throws(() => view.removeHeader("R", index), TypeError);
    throws(() => view.replaceHeader("R", "x", index), TypeError);
  }
});
