/** How `docs/conformance.md` comes about: ids in the tests' names, what ran, what is missing. The page itself is held by `docs_test.ts`. */
import { deepStrictEqual as deepEqual } from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { cases } from "../docs/conformance/cases.ts";
import { findCarriers } from "../docs/conformance/carriers.ts";
import { count, readReport } from "../docs/conformance/main.ts";
import { gone, misfits, type Results, resultsFile, unproven } from "../docs/conformance/page.ts";
import { mutations } from "./mutations/list.ts";

const root = new URL("../", import.meta.url);

Deno.test("conformance: every case has tests that name it, and every id in a test is a case's (docs/conformance/cases.ts)", async () => {
  deepEqual(misfits(await findCarriers(root)), []);
});

Deno.test("conformance: what the page names as a case's tests still is; if not, `deno task conformance --lists`", async () => {
  const results = JSON.parse(await Deno.readTextFile(new URL(resultsFile, root))) as Results;
  deepEqual(Object.keys(results.cases).sort(), [...cases.keys()].sort());
  deepEqual(gone(results, await findCarriers(root)), []);
});

Deno.test("conformance: what holds each RFC's section is where the table says (docs/conformance/rfcs.ts)", async () => {
  deepEqual(await unproven(root), []);
});

Deno.test("mutations: each edit's text stands in its file exactly once; if not, give what stands there now (tests/mutations/list.ts)", async () => {
  const wrong: string[] = [];
  for (const { id, breaks, file, find, put } of mutations) {
    const times = (await Deno.readTextFile(new URL(file, root))).split(find).length - 1;
    if (times !== 1 || find === put) wrong.push(`${id} ${breaks}: ${file} holds it ${times} times: ${find}`);
  }
  deepEqual(wrong, []);
});

Deno.test("conformance: a test that has gone is told", () => {
  const results = { cases: { D02: { passed: 1, failed: 0, files: ["tests/a_test.ts", "tests/b_test.ts"] } } };
  const carriers = [{ id: "D02", file: "tests/a_test.ts", name: "D02 a" }];
  deepEqual(gone(results as unknown as Results, carriers), ["D02 tests/b_test.ts"]);
});

Deno.test("conformance: ids that are no case's, and cases that no test names, are told", () => {
  const carriers = [{ id: "Z98", file: "tests/x_test.ts", name: "Z98 of nothing" }];
  deepEqual(misfits(carriers).at(-1), 'tests/x_test.ts: there is no case Z98, which "Z98 of nothing" names');
  deepEqual(misfits(carriers)[0], "no test carries C01");
});

const report = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="4" failures="1" errors="0" time="1">
    <testsuite name="./tests/a_test.ts" tests="4" disabled="0" errors="0" failures="1">
        <testcase name="D02 a &quot;lone&quot; LF &lt;here&gt;" classname="./tests/a_test.ts" time="0.001" line="1" col="6">
        </testcase>
        <testcase name="D02 O01 both" classname="./tests/e2e/b_test.ts" time="0.001" line="2" col="6">
            <failure message="Uncaught Error">D03 is not this test's name</failure>
        </testcase>
        <testcase name="Z99 is no case" classname="./tests/a_test.ts" time="0.001" line="3" col="6"/>
        <testcase name="D03 ignored" classname="./tests/a_test.ts" time="0.001" line="4" col="6">
            <skipped/>
        </testcase>
    </testsuite>
</testsuites>`;

Deno.test("conformance: a report is read: what passed, what failed, what was left out", () => {
  deepEqual(readReport(report), [
    { file: "./tests/a_test.ts", name: 'D02 a "lone" LF <here>', failed: false },
    { file: "./tests/e2e/b_test.ts", name: "D02 O01 both", failed: true },
    { file: "./tests/a_test.ts", name: "Z99 is no case", failed: false },
  ]);
});

Deno.test("conformance: tests are counted by the cases they name", () => {
  deepEqual(count(readReport(report)), {
    D02: { passed: 1, failed: 1 },
    O01: { passed: 0, failed: 1 },
  });
});

Deno.test("conformance: ids are found in strings and names of dialogs, not in comments", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const write = (path: string, text: string) => Deno.writeTextFile(`${folder}/tests/${path}`, text);
    await Deno.mkdir(`${folder}/tests/dialogs`, { recursive: true });
    await Deno.mkdir(`${folder}/tests/fuzz`);
    await write("dialogs/C01-first.smtp", "# D09 is in a comment\n");
    await write("fuzz/list.ts", '"D01 nobody tests"');
    await write(
      "a_test.ts",
      [
        "/** D02 in a comment",
        ' * "D02" as well */',
        '  // "D03 and here"',
        'Deno.test("D04 a test", () => {});',
        "Deno.test(`${kind} D05: ${what} passes`, () => {});",
        'const rows = ["A01 one", "B0 none", "RFC5321"];',
      ].join("\n"),
    );
    deepEqual(await findCarriers(pathToFileURL(`${folder}/`)), [
      { id: "D04", file: "tests/a_test.ts", name: "D04 a test" },
      { id: "D05", file: "tests/a_test.ts", name: " D05: " },
      { id: "A01", file: "tests/a_test.ts", name: "A01 one" },
      { id: "C01", file: "tests/dialogs/C01-first.smtp", name: "dialog C01-first" },
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
