import { strictEqual as equal } from "node:assert/strict";
import { fileURLToPath } from "node:url";

const files = ["scenarios.ts", "hooks.ts", "hostile.ts"];

Deno.test("isolate: its scenarios, in a process that doesn't check the types of each Worker again", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", ...files.map((name) => fileURLToPath(new URL(name, import.meta.url)))],
    env: { NO_COLOR: "1" },
    stdin: "null", // in a terminal Deno would ask for what a plugin may not do
  }).output();
  equal(code, 0, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
});
