/** README's "Write a plugin", followed word by word: each block is done in its order, from an empty folder to a refused mail. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { onlyMessage } from "./mailbox.ts";
import { makeFolder } from "./folder.ts";
import { freePort } from "./ports.ts";
import { run } from "./programs.ts";
import { root } from "./server.ts";

interface Block {
  readonly language: string;
  readonly text: string;
  /** What stands before it, up to the block before. */
  readonly before: string;
}

async function section(heading: string): Promise<Block[]> {
  const readme = await Deno.readTextFile(`${root}README.md`);
  const [, text = ""] = new RegExp(`^## ${heading}\\n([^]*?)^## `, "m").exec(readme) ?? [];
  let last = 0;
  return [...text.matchAll(/^```([a-z]+)\n([^]*?)^```$/gm)].map(
    ({ 0: whole, 1: language, 2: inside, index }) => {
      const before = text.slice(last, index);
      last = index + whole.length;
      return { language: language!, text: inside!, before };
    },
  );
}

/** A shell's command that runs until it is ended; its log is told line by line. */
class Foreground implements AsyncDisposable {
  log = "";
  readonly #child: Deno.ChildProcess;
  readonly #over: Promise<unknown>;
  #waiting: (() => void)[] = [];

  constructor(command: string, cwd: string, env: Record<string, string>) {
    this.#child = new Deno.Command("bash", {
      args: ["-c", `exec ${command}`],
      cwd,
      env,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#over = this.#read();
  }

  async #read(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.log += text;
      for (const look of this.#waiting.splice(0)) look();
    }
    this.log += "\nIt has ended.";
    for (const look of this.#waiting.splice(0)) look();
  }

  async until(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.log)) {
      ok(!this.log.endsWith("It has ended."), this.log);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGTERM");
    } catch {
      // It has ended.
    }
    await this.#over;
    await this.#child.status;
  }
}

Deno.test("README: a plugin, from an empty folder to a refused mail, as it is written there", async () => {
  await using folder = await makeFolder();
  await using tools = await makeFolder();
  await Deno.symlink(Deno.execPath(), tools.at("deno"));
  const env = { PATH: `${tools.path}:${Deno.env.get("PATH")}`, NO_COLOR: "1" };
  const port = String(freePort());
  const here = (text: string) => text.replaceAll("/opt/postrider/", root).replaceAll("2525", port);
  const shell = (text: string) => run("bash", ["-c", text], { cwd: folder.path, env });
  const blocks = await section("Write a plugin");
  const commands = blocks.filter(({ language }) => language === "sh").map(({ text }) => here(text));
  equal(commands.length, 5);
  const [make, test, check, serve, send] = commands as [string, string, string, string, string];

  equal((await shell(make)).code, 0);
  for (const { language, text, before } of blocks.filter(({ language }) => language !== "sh")) {
    const name = /`([a-z-]+\.(?:ts|yaml))`:\s*$/.exec(before)?.[1];
    ok(name, `the block after ${before} names no file`);
    if (language === "ts") {
      equal(await Deno.readTextFile(folder.at(name)), text, "it shows what `new plugin` writes");
    } else await folder.write(name, here(text));
  }
  const tested = await shell(test);
  equal(tested.code, 0, tested.stdout + tested.stderr);
  match(tested.stdout, /2 passed \| 0 failed/);
  const checked = await shell(check);
  equal(checked.code, 0, checked.stdout);
  match(checked.stdout, /rcpt +not-welcome/);

  await using server = new Foreground(serve, folder.path, env);
  await server.until(/ watching /);
  const [bobs, eves] = send.trim().split("\n");
  deepEqual(await shell(bobs!), { code: 0, stdout: "", stderr: "" });
  match(
    (await onlyMessage(folder.at("mail", "alice"))).content.toString(),
    /^Subject: Hello\n\nIt works\.$/m,
  );
  const refused = await shell(eves!);
  equal(refused.code, 55);
  const said = /`(curl: [^`]+)`/.exec(blocks.at(-1)!.before)?.[1];
  equal(refused.stderr.trim(), said);
  await server.until(/by=not-welcome .*You are not welcome here/);

  const plugin = await Deno.readTextFile(folder.at("not-welcome.ts"));
  await folder.write("not-welcome.ts", plugin.replace("You are not welcome here", "Go away"));
  await server.until(/ reloaded /);
  match((await shell(eves!.replace("-sS", "-v"))).stderr, /550 5\.7\.1 Go away/);
});
