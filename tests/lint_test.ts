import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import rules from "../server/lint.ts";

const head = `import { accept, defer, definePlugin, reject } from "postrider";\n`;
const plugin = (code: string) =>
  `${head}export default definePlugin({ name: "p", setup(on, _o, host) {\n${code}\n} });\n`;
const found = (source: string) => Deno.lint.runPlugin(rules, "plugin.ts", source);
const messages = (source: string) => found(source).map((one) => one.message);

/** What `deno lint --fix` would make of it. */
function fixed(source: string): string {
  const fixes = found(source).flatMap((one) => one.fix ?? []).sort((a, b) => b.range[0] - a.range[0]);
  return fixes.reduce(
    (text, { range: [from, to], text: by = "" }) => text.slice(0, from) + by + text.slice(to),
    source,
  );
}

const dropped = "reject(…) decides nothing unless it is returned";

const caught: [name: string, code: string, message: string, fixed?: string][] = [
  [
    "09 dropped verdict",
    `on("rcpt", (_s, r) => { if (r.domain === "x") reject("5.1.1", "No"); });`,
    dropped,
    `on("rcpt", (_s, r) => { if (r.domain === "x") return reject("5.1.1", "No"); });`,
  ],
  [
    "10 dropped verdict after await",
    `on("rcpt", async (_s, r) => { const n = await host.store.increment(r.address, 1, { ttl: "1h" }); if (n > 3) { defer("4.7.1", "x"); } });`,
    "defer(…) decides nothing unless it is returned",
    `on("rcpt", async (_s, r) => { const n = await host.store.increment(r.address, 1, { ttl: "1h" }); if (n > 3) { return defer("4.7.1", "x"); } });`,
  ],
  [
    "13 no await on a floating write",
    `on("rcpt", (_s, r) => { host.store.set(r.address, 1, { ttl: "1h" }); });`,
    "nobody awaits store.set(…): a failure would go unseen",
  ],
  [
    "13 no await in an async handler",
    `on("rcpt", async (_s, r) => { host.store.set(r.address, 1, { ttl: "1h" }); });`,
    "nobody awaits store.set(…): a failure would go unseen",
    `on("rcpt", async (_s, r) => { await host.store.set(r.address, 1, { ttl: "1h" }); });`,
  ],
  [
    "15 throws a verdict",
    `on("rcpt", () => { throw reject("5.1.1", "no such user"); });`,
    "reject(…) is returned, not thrown: what is thrown counts as a failure of the plugin",
    `on("rcpt", () => { return reject("5.1.1", "no such user"); });`,
  ],
  [
    "53 reads a message for nothing",
    `on("data", async (_s, message) => { message.bytes(); });`,
    "nobody awaits message.bytes(…): a failure would go unseen",
    `on("data", async (_s, message) => { await message.bytes(); });`,
  ],
  [
    "61 async forEach",
    `on("data", (_s, m, t) => { t.recipients.forEach(async (r) => { await host.store.set(r.address, m.size, { ttl: "1h" }); }); });`,
    "forEach does not wait for an async function: use for … of",
  ],
  ["64 && verdict", `on("rcpt", (_s, r) => { r.domain === "x" && reject("5.1.1", "No"); });`, dropped],
  [
    "64 ternary verdict",
    `on("rcpt", (_s, r) => { r.domain === "x" ? reject("5.1.1", "No") : 0; });`,
    dropped,
  ],
  ["a verdict made void", `on("rcpt", () => { void reject("5.1.1", "No"); });`, dropped],
  [
    "a verdict returned to forEach",
    `on("data", (_s, m, t) => { t.recipients.forEach((r) => { if (r.tag) return reject("5.1.1", "No"); }); });`,
    "reject(…) is returned to forEach, which ignores it: use for … of",
  ],
  [
    "a mail that is not awaited",
    `setup: submit({ sender: "", recipients: [], content: "" });`,
    "nobody awaits submit(…): a failure would go unseen",
  ],
];

for (const [name, code, message, fix] of caught) {
  Deno.test(`lint: ${name}`, () => {
    deepEqual(messages(plugin(code)), [message]);
    equal(fixed(plugin(code)), plugin(fix ?? code));
  });
}

Deno.test("lint: a verdict under another name, from a namespace, or from the Api argument", () => {
  deepEqual(messages(`import { reject as no } from "postrider"; no("5.1.1", "x");`), [dropped]);
  deepEqual(messages(`import * as api from "postrider"; api.reject("5.1.1", "x");`), [dropped]);
  const given = `on("rcpt", () => { R("5.1.1", "x"); });`;
  const byName = `export default ({ definePlugin, reject }) => definePlugin({ setup(on) { ${given} } });`;
  deepEqual(messages(byName.replace("R(", "reject(")), [dropped]);
  const whole = `export default (api: Api) => api.definePlugin({ setup(on) { ${given} } });`;
  deepEqual(messages(whole.replace("R(", "api.reject(")), [dropped]);
});

const fine: [name: string, source: string][] = [
  [
    "a returned verdict",
    plugin(
      `on("rcpt", () => reject("5.1.1", "x")); on("mail", (_s, t) => t.id ? defer("4.1.1", "x") : undefined);`,
    ),
  ],
  [
    "reject of a Promise",
    plugin(`await new Promise((resolve, reject) => { if (host) reject(new Error("x")); resolve(0); });`),
  ],
  ["another module's reject", `import { reject } from "./mine.ts"; reject("5.1.1", "x"); throw reject("x");`],
  ["no import at all", `reject("5.1.1", "x"); accept(); store.set("a", 1); list.forEach(async () => {});`],
  ["a Map called cache", plugin(`const cache = new Map(); cache.set("a", 1); cache.delete("a");`)],
  ["a write whose failure is handled", plugin(`host.store.set("a", 1, { ttl: "1h" }).catch(log);`)],
  ["a write that need not be awaited, and says so", plugin(`void host.store.set("a", 1, { ttl: "1h" });`)],
  ["a forEach that is not about verdicts", plugin(`[1].forEach((n) => { host.log.info(String(n)); });`)],
  ["a field called store", `${head}class A { store = new Map(); put() { this.store.set("a", 1); } }`],
];

for (const [name, source] of fine) {
  Deno.test(`lint: nothing to say about ${name}`, () => deepEqual(messages(source), []));
}

Deno.test("lint: nothing to say about the sample plugins", async () => {
  const folder = new URL("api/plugins/", import.meta.url);
  for await (const { name } of Deno.readDir(folder)) {
    deepEqual(messages(await Deno.readTextFile(new URL(name, folder))), [], name);
  }
});
