import { deepStrictEqual as deepEqual } from "node:assert/strict";
import { sourcesOf } from "../../server/load/sources.ts";
import { Folder } from "./fixture.ts";

Deno.test("sources: whatever a plugin imports by path, in all the ways there are, and nothing else", async () => {
  await using folder = await Folder.of({
    "mine.ts": `import { z } from "postrider";
      import fs from "node:fs";
      import x from "npm:yaml@2";
      import type { T } from "./types.ts";
      import one, { type Two } from "./one.js";
      export * from "./all.ts";
      import data from "./data.json" with { type: "json" };
      const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
      const text = 'import "./in_a_string.ts"'; // import "./in_a_comment.ts"
      const f = async <T,>(a: T) => { await using b = await import("./late.ts"); return a as unknown as string; };
      export default class { @decorated accessor c = /from "\\.\\/in_a_regexp\\.ts"/; }`,
    "one.js": 'import "./one.js"; import { jsx } from "./two.tsx"; const a = <b>import "./in_jsx.ts"</b>;',
    "two.tsx": 'const c = <T,>(t: T) => <d>{t}</d>; import("./missing.ts"); import("./" + c);',
    "all.ts": 'import "./before.ts"; const broken = = 1;',
  });
  const found = await sourcesOf([`${folder.path}/mine.ts`]);
  const names = [...found].map((path) => path.replace(`${folder.path}/`, "")).sort();
  deepEqual(names.filter((name) => name !== "before.ts"), [
    "all.ts",
    "data.json",
    "late.ts",
    "mine.ts",
    "missing.ts",
    "one.js",
    "two.tsx",
    "types.ts",
    "worker.ts",
  ]);
});
