import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import { followYaml, type Reader } from "../../plugins/yaml_file.ts";
import { folder } from "./maildir/disk.ts";

const read: Reader<string> = (root, problem) => {
  const text = String(root);
  if (text.startsWith("bad")) throw problem(root, "this is bad");
  return text.trim();
};

function host() {
  const lines: string[] = [];
  const write = (level: string) => (text: string, fields = {}) =>
    void lines.push(`${level}: ${text} ${JSON.stringify(fields)}`);
  return {
    lines,
    clock: { time: 1e12, now: () => 0, sleep: () => Promise.resolve() },
    log: { debug: write("debug"), info: write("info"), warning: write("warning"), error: write("error") },
  };
}

Deno.test("a file is looked at once a second, and a change is seen then", async () => {
  await using root = await folder();
  const file = `${root.path}/f.yaml`;
  await Deno.writeTextFile(file, "one");
  const fake = host();
  fake.clock.now = () => fake.clock.time;
  const followed = await followYaml(file, read, fake);
  await Deno.writeTextFile(file, "second");
  fake.clock.time += 999;
  equal(followed.current(), "one");
  fake.clock.time += 1;
  const looking = followed.current();
  equal(followed.current(), looking, "whoever asks meanwhile waits for the same look");
  equal(await looking, "second");
  equal(followed.current(), "second");
  fake.clock.time -= 3_600_000;
  await Deno.writeTextFile(file, "third, after the clock was set back");
  match(await followed.current(), /^third/);
});

Deno.test("a broken change is logged once with its place, and the last good content stays", async () => {
  await using root = await folder();
  const file = `${root.path}/f.yaml`;
  await Deno.writeTextFile(file, "good");
  const fake = host();
  fake.clock.now = () => fake.clock.time;
  const followed = await followYaml(file, read, fake);
  await Deno.writeTextFile(file, "# comment\n  bad thing");
  for (let i = 0; i < 3; i++) {
    fake.clock.time += 1000;
    equal(await followed.current(), "good");
  }
  equal(fake.lines.length, 1);
  match(fake.lines[0]!, /^error: .*f\.yaml:2:3: this is bad/);
  await Deno.remove(file);
  fake.clock.time += 1000;
  equal(await followed.current(), "good");
  await Deno.writeTextFile(file, "better");
  fake.clock.time += 1000;
  equal(await followed.current(), "better");
});

Deno.test("at load a broken or missing file is an error, unless missing is allowed", async () => {
  await using root = await folder();
  const file = `${root.path}/f.yaml`;
  await rejects(followYaml(file, read, host()), /No such file/);
  const followed = await followYaml(file, read, host(), "nothing yet");
  deepEqual(followed.current(), "nothing yet");
  const table: [string, RegExp][] = [
    ["bad", /f\.yaml:1:1: this is bad/],
    ["a: 1\n@b: 2", /f\.yaml:2:1: .*put the address in quotes/],
    ["a: [1", /f\.yaml:1:\d+: /],
    ["a: 1\na: 2", /f\.yaml:2:1: Map keys must be unique/],
  ];
  for (const [content, sentence] of table) {
    await Deno.writeTextFile(file, content);
    await rejects(followYaml(file, read, host()), sentence, content);
  }
});

Deno.test("promise 5: a file that is gone or empty for a moment takes nobody's mailbox away", async () => {
  await using root = await folder();
  const file = `${root.path}/f.yaml`;
  await Deno.writeTextFile(file, "users");
  const fake = host();
  fake.clock.now = () => fake.clock.time;
  const followed = await followYaml(file, read, fake, "nobody");
  const next = async () => {
    fake.clock.time += 1000;
    return await followed.current();
  };
  await Deno.remove(file);
  equal(await next(), "users");
  equal(await next(), "users", "and it is not a question of time");
  await Deno.writeTextFile(file, "");
  equal(await next(), "users", "somebody is about to write");
  await Deno.writeTextFile(file, "more users");
  equal(await next(), "more users");
  await Deno.writeTextFile(file, "");
  equal(await next(), "more users");
  equal(await next(), "null", "it is meant to be empty");
});
