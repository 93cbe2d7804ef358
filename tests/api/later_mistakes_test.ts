import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { pathToFileURL } from "node:url";
import rules from "../../server/lint.ts";
import { mailboxes, testServer } from "../../server/testing/mod.ts";
import { file, Folder, mine, problemsOf } from "../load/fixture.ts";
import { laterMistakes } from "./later_mistakes.ts";

Deno.test("mistakes: each of the 65 and more is caught by types, by lint, at load or at run time, or it is said that nothing does", async () => {
  const typed = await Deno.readTextFile(new URL("mistakes.ts", import.meta.url));
  const numbers = [
    ...[...typed.matchAll(/@ts-expect-error (\d\d) /g)].map(([, number]) => Number(number)),
    ...laterMistakes.map(({ number }) => number),
  ];
  deepEqual(
    numbers.sort((a, b) => a - b),
    Array.from({ length: Math.max(65, numbers.length) }, (_, i) => i + 1),
  );
});

const head = 'import { accept, defer, definePlugin, delivered, reject } from "postrider";\n';
const source = (code: string) =>
  `${head}export default definePlugin({ name: "mine", setup(on, _o, host) {\n${code}\n} });\n`;

for (const { number, name, code, by, says } of laterMistakes) {
  if (by === "lint") {
    Deno.test(`mistakes: ${number} ${name}: lint`, () => {
      deepEqual(Deno.lint.runPlugin(rules, "mine.ts", source(code)).map(({ message }) => message), [says]);
    });
  } else if (by === "load") {
    Deno.test(`mistakes: ${number} ${name}: load`, async () => {
      const problems = await problemsOf({ "postrider.yaml": mine, "mine.ts": file(code) });
      equal(problems.length, 1);
      ok(problems[0]!.startsWith("postrider.yaml:1:18: ") && problems[0]!.includes(says), problems[0]);
    });
  } else if (by === "run") {
    Deno.test(`mistakes: ${number} ${name}: when it happens, the log says so, and the mail is delivered or comes again`, async () => {
      await using folder = await Folder.of({ "mine.ts": source(code) });
      const floating = Promise.withResolvers<unknown>();
      const over = new AbortController();
      addEventListener("error", (event) => { // as `serve` listens
        event.preventDefault();
        floating.resolve(event.error);
      }, { signal: over.signal });
      const { default: plugin } = await import(pathToFileURL(`${folder.path}/mine.ts`).href);
      await using server = await testServer({ plugins: [plugin, mailboxes(["example.org"])] });
      const sending = server.send({ to: "alice@example.org", text: `${"x".repeat(70)}\r\n`.repeat(16_000) });
      await server.clock.advance("30s");
      const { reply } = await sending;
      ok(reply.code === 451 || server.delivered.length === 1, `${reply.code}`);
      const errors = code.startsWith("setTimeout")
        ? [await floating.promise]
        : server.log.entries.filter(({ level }) => level === "error").map(({ fields }) => fields.error);
      equal(errors.length, 1);
      ok(String(errors[0]).includes(says), String(errors[0]));
      over.abort();
    });
  }
}
