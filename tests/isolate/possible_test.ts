/** What is said where a plugin can't be isolated: nobody may believe that it is. */
import { match, strictEqual as equal } from "node:assert/strict";

const possible = new URL("../../server/isolate/possible.ts", import.meta.url).href;
const code = `import { whyNotPossible } from "${possible}"; console.log("said: " + await whyNotPossible());`;

/** What a process with these flags is told; in a terminal of its own, or without one. */
async function told(flags: string[], terminal?: { readonly quiet: boolean }) {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/ask.ts`;
    await Deno.writeTextFile(file, code);
    const command = [Deno.execPath(), "run", "-A", "--no-check", "--no-config", ...flags, file];
    const inTerminal = `env ${terminal?.quiet ? "DENO_NO_PROMPT=1" : "-u DENO_NO_PROMPT"} ${
      command.join(" ")
    }`;
    const [program, ...args] = terminal ? ["script", "-qec", inTerminal, "/dev/null"] : command;
    const { stdout } = await new Deno.Command(program!, { args, env: { NO_COLOR: "1" }, stdin: "null" })
      .output();
    return new TextDecoder().decode(stdout);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const flags = ["--unstable-worker-options"];

Deno.test("isolate: without Deno's flag it is said which one, with it nothing", async () => {
  match(await told([]), /said: isolate needs Deno's flag --unstable-worker-options/);
  match(await told(flags), /said: undefined/);
});

Deno.test("isolate: in a terminal, where Deno would ask, it is said how it doesn't", async () => {
  match(await told(flags, { quiet: false }), /said: isolate in a terminal needs DENO_NO_PROMPT=1/);
  const quiet = await told(flags, { quiet: true });
  equal(/said: (.*?)\r?$/m.exec(quiet)?.[1], "undefined");
});
