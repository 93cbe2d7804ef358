import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";

const numbered = /^\/\/ @ts-expect-error (\d\d) (TS\d+) (.+)$/;

Deno.test("mistakes.ts has the 50 mistakes that the types are to catch", async () => {
  const numbers = (await mistakes()).map(({ number }) => number);
  equal(numbers.length, 50);
  equal(new Set(numbers).size, 50);
});

// `deno check` of the tree fails where a mistake compiles. Here each must fail for its own reason: the directive
// alone is content with any error.
Deno.test("each mistake is refused with the error that is noted beside it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/mistakes.ts`;
    const text = await Deno.readTextFile(new URL("mistakes.ts", import.meta.url));
    await Deno.writeTextFile(file, text.replaceAll("// @ts-expect-error", "// bare:"));
    const found = errorsByLine(await check(file));
    const expected = await mistakes();
    for (const { number, code, line, name } of expected) {
      equal(found.get(line)?.includes(code), true, `${number} ${name}: ${found.get(line) ?? "compiles"}`);
    }
    deepEqual([...found.keys()].filter((line) => !expected.some((one) => one.line === line)), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

async function mistakes() {
  const lines = (await Deno.readTextFile(new URL("mistakes.ts", import.meta.url))).split("\n");
  return lines.flatMap((text, index) => {
    const match = numbered.exec(text);
    return match ? [{ number: match[1]!, code: match[2]!, name: match[3]!, line: index + 2 }] : []; // the line below
  });
}

async function check(file: string): Promise<string> {
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const { stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["check", "--config", config, file],
    env: { NO_COLOR: "1" },
  }).output();
  return new TextDecoder().decode(stderr);
}

/** Reads `TS2345 [ERROR]: …` with the `at file:///…:12:34` that follows it. */
function errorsByLine(output: string): Map<number, string[]> {
  const found = new Map<number, string[]>();
  for (const block of output.split(/\n(?=\s*TS\d+ \[ERROR\])/)) {
    const code = /TS\d+(?= \[ERROR\])/.exec(block)?.[0];
    const line = Number(/at file:\S+?mistakes\.ts:(\d+):\d+/.exec(block)?.[1]);
    if (code && line) found.set(line, [...(found.get(line) ?? []), code]);
  }
  return found;
}
