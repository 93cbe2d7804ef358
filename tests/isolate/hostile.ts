/** What a plugin without permissions tries, and what it comes to. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { builtinModules } from "node:module";
import { testServer } from "../../server/testing/mod.ts";
import { type Files, Folder, problemsOf } from "../load/fixture.ts";
import { file, isolated, logged } from "./plugin.ts";
import { Talk } from "./talk.ts";

/** What each has come to: `done`, or why not. */
async function tried(attempts: Readonly<Record<string, string>>, files: Files = {}) {
  const tries = Object.entries(attempts).map(([name, code]) =>
    `    try { await (${code}); all[${JSON.stringify(name)}] = "done"; } catch (error) { all[${
      JSON.stringify(name)
    }] = String(error); }`
  );
  await using folder = await Folder.of({
    "postrider.yaml": isolated(),
    "mine.ts": file(`on("helo", async () => {
    const all: Record<string, string> = {};
${tries.join("\n")}
    host.log.info("tried", all);
  });`),
    ...files,
  });
  await using talk = await Talk.with(folder);
  await talk.helo();
  const { plugin: _, ...all } = talk.log.entries.find(({ event }) => event === "tried")?.fields ?? {};
  return all;
}

Deno.test("isolate: a plugin without permissions can't read, write, connect, spawn, or see the environment", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  let connections = 0;
  const accepting = (async () => {
    for await (const connection of listener) {
      connections++;
      connection.close();
    }
  })();
  const all = await tried({
    read: `Deno.readTextFile("/etc/hostname")`,
    "read by node:fs": `import("node:fs").then((fs) => fs.readFileSync("/etc/hostname"))`,
    "read by fetch": `fetch("file:///etc/hostname")`,
    write: `Deno.writeTextFile("/tmp/postrider-isolated", "x")`,
    connect: `Deno.connect({ hostname: "127.0.0.1", port: ${port} })`,
    "connect by node:net": `import("node:net").then((net) => new Promise((resolve, reject) =>
      net.connect(${port}, "127.0.0.1").on("connect", resolve).on("error", reject)))`,
    fetch: `fetch("http://127.0.0.1:${port}/")`,
    resolve: `Deno.resolveDns("example.org", "A")`,
    listen: `Deno.listen({ port: 0 })`,
    spawn: `new Deno.Command("true").output()`,
    "spawn by node:child_process":
      `import("node:child_process").then(({ execFileSync }) => execFileSync("true"))`,
    environment: `Deno.env.get("HOME")`,
    "all of the environment":
      `process.env.HOME === undefined && Object.keys(process.env).length === 0 && Deno.env.toObject()`,
    system: `Deno.hostname()`,
    "foreign functions": `Deno.dlopen("libc.so.6", { abort: { parameters: [], result: "void" } })`,
    "ask for more":
      `Deno.permissions.request({ name: "read" }).then(({ state }) => { throw new Error("Requires: " + state); })`,
  });
  listener.close();
  await accepting.catch(() => {});
  equal(Object.keys(all).length, 16);
  for (const [name, reason] of Object.entries(all)) match(String(reason), /[Rr]equires/, name);
  equal(connections, 0);
});

Deno.test("isolate: it imports nothing that isn't its own, by whatever name", async () => {
  const data = (code: string) =>
    `import("data:text/javascript," + encodeURIComponent(${JSON.stringify(code)}))`;
  const all = await tried({
    "a file by a computed name": `import(["/etc", "hostname"].join("/"))`,
    "its own file by a computed name": `import(new URL("secret.ts", import.meta.url).href)`,
    "a file inside of data": data(`import "file:///etc/hostname" with { type: "text" }`),
    "JSON inside of data": data(`import "file:///etc/x.json" with { type: "json" }`),
    "from the network": `import(["http://127.0.0.1:1", "x.js"].join("/"))`,
    "from the network, inside of data": data(`import "http://127.0.0.1:1/x.js"`),
    "a package": `import(["npm:", "yaml@2.9.1"].join(""))`,
    "a package in capitals": `import("NPM:yaml@2.9.1")`,
    "a package with a tab": `import("n\\tpm:yaml@2.9.1")`,
    "a package that isn't there": `import(" NPM:postrider-" + "isolated-secret@1.0.0")`,
    "node:v8 in capitals": `import(" NODE:v8")`,
    "a package inside of data": data(`import "npm:yaml@2.9.1"`),
    "a package by a constructed function": `new Function("return import('npm:yaml@2.9.1')")()`,
    "a file by require":
      `import("node:module").then(({ createRequire }) => createRequire(import.meta.url)("/etc/hosts.json"))`,
    ...Object.fromEntries(
      ["worker_threads", "cluster", "inspector", "v8", "vm", "repl", "wasi", "sqlite", "test"].map((name) => [
        `node:${name}`,
        `import("node:${name}")`,
      ]),
    ),
    "a name of node:v8, inside of data": data(
      `import { setFlagsFromString } from "node:v8"; setFlagsFromString("--no-opt")`,
    ),
    "names of node:vm, passed on": data(`export { Script } from "node:vm"`),
    "node:v8 by a blob":
      `import(URL.createObjectURL(new Blob(['import "node:v8"'], { type: "text/javascript" })))`,
    "node:v8 by require":
      `import("node:module").then(({ createRequire }) => createRequire("file:///x.js")("v8"))`,
    "node:v8 by Module._load": `import("node:module").then(({ default: { _load } }) => _load("v8"))`,
    "node:v8 as built in": `Promise.reject("it is " + process.getBuiltinModule("node:v8"))`,
  }, { "secret.ts": "export default 1;\n" });
  equal(Object.keys(all).length, 29);
  for (const [name, reason] of Object.entries(all)) {
    match(
      String(reason),
      /[Rr]equires|an isolated plugin|list it under|it is undefined/,
      `${name}: ${reason}`,
    );
  }
});

Deno.test("isolate: of the runtime's modules it has those that are allowed, however it names them", async () => {
  const data = (code: string) =>
    `import("data:text/javascript," + encodeURIComponent(${JSON.stringify(code)}))`;
  const prefixless = builtinModules.map((name) => name.replace("node:", ""));
  const names = [...new Set([...prefixless, "test", "test/reporters", "sqlite"])];
  const all = await tried(Object.fromEntries(names.flatMap((name) => [
    [`${name}, all of it`, data(`import * as it from "node:${name}"; export { it }`)],
    [`${name}, by default`, data(`import it from "node:${name}"; export { it }`)],
    [`${name}, for what it does`, data(`import "node:${name}"`)],
    [`${name}, passed on`, data(`export * from "node:${name}"`)],
    [`${name}, while it runs`, `import("node:${name}")`],
  ])));
  const had = Object.entries(all).filter(([, how]) => !/an isolated plugin can't have/.test(String(how)));
  deepEqual([...new Set(had.map(([name]) => name.split(",")[0]!))].sort(), allowed);
  equal(had.length, allowed.length * 5);
  deepEqual([...new Set(had.map(([, how]) => how))], ["done"]);
});

/** Neither ends or inspects the process, nor makes threads. */
const allowed =
  ("assert assert/strict async_hooks buffer child_process console constants crypto dgram diagnostics_channel " +
    "dns dns/promises events fs fs/promises http http2 https module net os path path/posix path/win32 perf_hooks process " +
    "punycode querystring readline readline/promises stream stream/consumers stream/promises stream/web string_decoder " +
    "timers timers/promises tls tty url util util/types zlib").split(" ");

const named = (name: string) => `import("node:process").then((it) => it.${name})`;

Deno.test("isolate: it can't end or signal the process, open its descriptors, or get round what keeps it from that", async () => {
  const all = await tried({
    "Deno.kill": `Deno.kill(Deno.pid, "SIGKILL")`,
    "process.kill": `process.kill(process.pid, "SIGKILL")`,
    "process._kill": `process._kill(process.pid, 9)`,
    "process.abort": `process.abort()`,
    "kill of node:process": named(`kill(process.pid, "SIGKILL")`),
    "abort of node:process": named("abort()"),
    "abort of its default": named("default.abort()"),
    "abort inside of data": `import("data:text/javascript,import { abort } from 'process'; abort()")`,
    "abort by require":
      `import("node:module").then(({ createRequire }) => createRequire("file:///x.js")("process").abort())`,
    "process.binding": `process.binding("process_methods")`,
    "the runtime's own": `Deno[Deno.internal].core.ops.op_set_exit_code(1)`,
    "the runtime's own, by its symbol": `Object.getOwnPropertySymbols(Deno).map((one) => Deno[one].core)`,
    "handlers of signals": `Deno.addSignalListener("SIGTERM", () => {})`,
    "the environment": `Deno.env.set("PATH", "")`,
    "the environment of node:process": `process.env.PATH = ""`,
    "the folder": `process.chdir("/")`,
    "another thread": `new Worker("data:text/javascript,")`,
    "a descriptor": `import("node:net").then(({ Socket }) =>
      Array.from({ length: 64 }, (_, fd) => fd).filter((fd) => { try { return new Socket({ fd }); } catch { return false; } }).length === 0 &&
      Promise.reject("isolated"))`,
    "a terminal": `import("node:tty").then(({ WriteStream }) => new WriteStream(1))`,
    "hooks of its own": `import("node:module").then((it) => it.registerHooks({}))`,
    "hooks of its own, by the object": `import("node:module").then((it) => it.default.registerHooks({}))`,
    "the finding of files":
      `import("node:module").then((it) => { "use strict"; it.default._resolveFilename = () => {}; })`,
    "a hook that all arrays have":
      `Object.defineProperty(Array.prototype, "0", { get: () => () => ({ url: "node:v8", shortCircuit: true }), set() {} })`,
    "methods that lie": `(() => {
      String.prototype.startsWith = () => false; Array.prototype.includes = () => true; RegExp.prototype.test = () => true;
      Set.prototype.has = Map.prototype.has = () => true; Object.hasOwn = () => true;
      return import("node:worker_threads");
    })()`,
    "disk": `caches.open("x")`,
  });
  equal(Object.keys(all).length, 25);
  for (const [name, reason] of Object.entries(all)) {
    match(
      String(reason),
      /isolated|not extensible|read.only|not a constructor|undefined|trap returned falsish|reading 'core'/,
      `${name}: ${reason}`,
    );
  }
});

Deno.test("isolate: what ends itself ends its thread only; what keeps ending is left alone for a while, longer each time", async () => {
  await using folder = await Folder.of({
    "mine.ts": file(
      `const shared = (depth) => { let it = [1]; for (let i = 0; i < depth; i++) it = [it, it]; return it; };
  on("rcpt", (session, { user }) => {
    if (user === "deno") Deno.exit(3);
    if (user === "process") process.exit(3);
    if (user === "really") process.reallyExit(3);
    if (user === "close") self.close();
    if (user === "null") postMessage(null);
    if (user === "endless") return { ...accept(), claim: { to: Array(4e9) } };
    if (user === "deep") return host.store.set("key", shared(60), { ttl: "1h" });
    if (user === "strange") postMessage({ kind: "fact", of: 1, fact: "x", value: new Map() });
    if (user !== "fine") return new Promise(() => {});
    return accept();
  });`,
    ),
  });
  await using server = await testServer({
    plugins: [{ use: new URL(`file://${folder.path}/mine.ts`), isolate: {} }],
  });
  const client = server.connect();
  await client.reply();
  await client.command("EHLO client.example");
  await client.command("MAIL FROM:<a@example.org>");
  const rcpt = async (user: string) => (await client.command(`RCPT TO:<${user}@example.com>`)).code;
  deepEqual([await rcpt("endless"), await rcpt("deep")], [451, 451]); // and the server isn't walking there for ever
  deepEqual([await rcpt("deno"), await rcpt("fine")], [451, 250]); // again at once
  for (const [seconds, user] of Object.entries(["process", "really", "close", "null", "strange"])) {
    equal(await rcpt(user), 451);
    equal(await rcpt("fine"), 451);
    await server.clock.advance(1000 * 2 ** Number(seconds));
    equal(await rcpt("fine"), 250);
  }
  const reasons = server.log.entries.flatMap(({ event, fields }) =>
    event.startsWith("isolated plugin ended") ? [fields] : []
  );
  deepEqual(reasons.map((fields) => fields?.reason).slice(0, 4), Array(4).fill("it has ended itself"));
  deepEqual(reasons.slice(0, 4).map((fields) => fields?.notBefore), [undefined, "1 s", "2 s", "4 s"]);
  match(String(reasons[4]?.reason), /sends what is no message/);
  match(String(reasons[5]?.reason), /isn't JSON/);
});

Deno.test("isolate: one that takes too much memory is ended, whether it blocks or not; one that blocks can't say that it doesn't", async () => {
  await using folder = await Folder.of({
    "postrider.yaml": isolated(", timeout: 5m"),
    "mine.ts": file(`const kept = [];
  on("helo", (session, name) => {
    if (name === "loop") {
      for (;;) { // 200 MiB a second, so that it is seen in time on any machine
        kept.push(new Uint8Array(4 * 1024 ** 2).fill(1));
        for (const end = Date.now() + 20; Date.now() < end;);
      }
    }
    if (name === "hoard") kept.push(new Uint8Array(600 * 1024 ** 2));
    if (name === "pretend") {
      for (const end = Date.now() + 1500; Date.now() < end;) postMessage({ kind: "pong", nonce: 0, memory: 0 });
      for (;;);
    }
    return new Promise(() => {});
  });`),
  });
  for (
    const [name, reason] of [
      ["loop", /takes more and more memory/],
      ["hoard", /more than 512 MiB/],
      ["pretend", /at its time-out/],
    ] as const
  ) {
    if (name === "pretend") await folder.write("postrider.yaml", isolated(", timeout: 1s"));
    await using talk = await Talk.with(folder);
    match((await (await talk.client()).command(`EHLO ${name}`)).text, /try again later/);
    const { fields } = await logged(talk.log, "isolated plugin ended");
    match(String(fields?.reason), reason);
  }
});

Deno.test("isolate: errors in its timers and floating promises are logged, and end nothing", async () => {
  await using folder = await Folder.of({
    "postrider.yaml": isolated(),
    "mine.ts": file(`on("helo", async () => {
    setTimeout(() => { throw new Error("in a timer"); });
    Promise.reject(new Error("in a promise"));
    postMessage({ kind: "log", level: "info", text: { strange: true }, fields: { big: 10n, map: new Map() } });
    await new Promise((resolve) => setTimeout(resolve, 1));
    await new Promise((resolve) => setTimeout(resolve, 1));
    return reject("5.0.0", "there");
  });`),
  });
  await using talk = await Talk.with(folder);
  deepEqual(await talk.helo(), ["550 there"]);
  const errors = JSON.stringify(talk.log.entries);
  ok(errors.includes("in a timer") && errors.includes("in a promise") && !errors.includes("ended"), errors);
});

const refused: { name: string; files: Files; problem: RegExp }[] = [
  {
    name: "a module of the runtime that it names at its top",
    files: { "mine.ts": `import { setFlagsFromString } from "node:v8";\n${file("setFlagsFromString;")}` },
    problem: /an isolated plugin can't have node:v8/,
  },
  {
    name: "one that a file beside it names",
    files: {
      "mine.ts": `import { vm } from "./beside.ts";\n${file("vm;")}`,
      "beside.ts": `import * as vm from "node:vm";\nexport { vm };\n`,
    },
    problem: /an isolated plugin can't have node:vm/,
  },
  {
    name: "a text that it isn't to read",
    files: { "mine.ts": `import "./postrider.yaml" with { type: "text" };\n` },
    problem: /imports file:.*postrider\.yaml, which isn't code: list it under `read`/,
  },
  {
    name: "a name that would be another's folder",
    files: {
      "mine.ts": `postMessage({ kind: "described", plugin: { name: "../../other", setup: 1 } });\n`,
    },
    problem: /its name is "\.\.\/\.\.\/other", not a word/,
  },
];

for (const { name, files, problem } of refused) {
  Deno.test(`isolate: refused: ${name}`, async () => {
    const problems = await problemsOf({ "postrider.yaml": isolated(), ...files });
    equal(problems.length, 1);
    match(problems[0]!, problem);
  });
}

Deno.test("isolate: refused: code outside of its folder, unless it is listed", async () => {
  await using other = await Folder.of({ "outside.ts": "export const there = 'there';\n" });
  const url = new URL(`file://${other.path}/outside.ts`).href;
  const text = `import { there } from "${url}";\n${file('on("helo", () => reject("5.0.0", there));')}`;
  const [problem] = await problemsOf({ "postrider.yaml": isolated(), "mine.ts": text });
  match(problem!, /imports file:.*outside\.ts, which is outside of its folder: list it under `read`/);
  await using folder = await Folder.of({
    "postrider.yaml": `plugins: [{ use: ./mine.ts, isolate: { read: [${other.path}] } }]\n`,
    "mine.ts": text,
  });
  await using talk = await Talk.with(folder);
  deepEqual(await talk.helo(), ["550 there"]);
});

Deno.test("isolate: what is listed under `read` may be imported, and packages that it names at its start", async () => {
  await using folder = await Folder.of({
    "postrider.yaml": "plugins: [{ use: ./mine.ts, isolate: { read: [./words.json] } }]\n",
    "words.json": '["hello"]',
    "beside.ts": "export const there = 'there';\n",
    "mine.ts": `import { definePlugin, reject } from "postrider";
import words from "./words.json" with { type: "json" };
import { there } from "./beside.ts";
import { parse } from "npm:yaml@2.9.1";
export default definePlugin({ name: "mine", setup: (on) => on("helo", () => reject("5.0.0", [words[0], there, parse("a: b").a].join(" "))) });
`,
  });
  await using talk = await Talk.with(folder);
  deepEqual(await talk.helo(), ["550 hello there b"]);
});
