/** The command line, as it is typed. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { postrider, ServerProcess } from "./server.ts";
import { maildir, settings, writeSettings } from "./small_server.ts";

const broken = `hostname: mx.example.test
listen:
  - { port: 0, adress: 127.0.0.1 }
limits: { message: 50 potatoes }
plugins:
  - use: maildr
    with: { domains: [example.test] }
`;

/** A key, a value and a plugin's name, each with its place. */
const problems = [
  /^postrider\.yaml:3:16: .*adress.*did you mean "?`?address/m,
  /^postrider\.yaml:4:20: .*50 potatoes/m,
  /^postrider\.yaml:6:10: .*maildr.*did you mean "?`?maildir/m,
];

Deno.test("check: all problems of a broken file, each with its place; exit 2", async () => {
  await using folder = await makeFolder();
  await folder.write("postrider.yaml", broken);
  const { code, stdout, stderr } = await postrider(["check", "--config", "postrider.yaml"], {
    cwd: folder.path,
  });
  equal(code, 2);
  equal(stderr.replace(/^Download .*\n/gm, ""), ""); // the runtime's own words, on a new machine
  for (const problem of problems.slice(0, 2)) match(stdout, problem);
  deepEqual(await Array.fromAsync(Deno.readDir(folder.path), ({ name }) => name), ["postrider.yaml"]);
});

Deno.test("check: a plugin that doesn't exist is a problem like others", async () => {
  await using folder = await makeFolder();
  const plugins = [{ use: "maildr" }, maildir];
  await folder.write("postrider.yaml", JSON.stringify(settings({ plugins }), null, 1));
  const { code, stdout } = await postrider(["check", "--config", "postrider.yaml"], { cwd: folder.path });
  equal(code, 2);
  match(stdout, /^postrider\.yaml:\d+:\d+: no plugin is called "maildr": did you mean "maildir"\?/m);
});

Deno.test("serve: a misspelt key; exit 2, no stack trace", async () => {
  await using folder = await makeFolder();
  await folder.write("postrider.yaml", broken);
  const { code, stderr } = await postrider(["serve", "--config", "postrider.yaml"], { cwd: folder.path });
  equal(code, 2);
  match(stderr, problems[0]!);
  ok(!stderr.includes("    at "), stderr);
});

Deno.test("serve: an open relay is refused with a sentence; exit 2", async () => {
  await using folder = await makeFolder();
  const config = await writeSettings(folder, {
    plugins: [{ use: "relay", with: { networks: ["0.0.0.0/0"] } }, maildir],
  });
  const { code, stderr } = await postrider(["serve", "--config", config]);
  equal(code, 2);
  match(stderr, /postrider\.yaml:5:\d+: .*relay/);
});

Deno.test("serve: a configuration that is not there, and a command that is none; exit 2", async () => {
  const missing = await postrider(["serve", "--config", "/nowhere/postrider.yaml"]);
  equal(missing.code, 2, missing.stderr);
  match(missing.stderr, /\/nowhere\/postrider\.yaml/);
  const none = await postrider(["sevre"]);
  equal(none.code, 2);
  match(none.stderr, /serve/);
});

Deno.test("check: no problem; --hooks shows who is asked, in order", async () => {
  await using folder = await makeFolder();
  const plugins = [{ use: "relay", with: { networks: ["10.0.0.0/8"] } }, maildir];
  const config = await writeSettings(folder, { plugins });
  const plain = await postrider(["check", "--config", config]);
  equal(plain.code, 0, plain.stdout);
  match(plain.stdout, /no problem found/);
  const { code, stdout } = await postrider(["check", "--hooks", "--config", config]);
  equal(code, 0);
  match(stdout, /^rcpt\b.*relay/m);
  match(stdout, /^resolve\b.*maildir/m);
});

Deno.test("schema: JSON Schema of the configuration and the plugins", async () => {
  const { code, stdout } = await postrider(["schema"]);
  equal(code, 0);
  const schema = JSON.parse(stdout);
  match(schema.$schema, /json-schema\.org/);
  ok(schema.properties.listen && schema.properties.plugins);
  for (const name of ["auth", "relay", "maildir", "aliases", "discard"]) {
    ok(stdout.includes(`"${name}"`), name);
  }
});

Deno.test("user: an account is made, listed, given another password, and removed", async () => {
  await using folder = await makeFolder();
  const config = await writeSettings(folder, {
    listen: [{ port: 0, address: "127.0.0.1", role: "submission", allowPlain: true }],
    plugins: [{ use: "auth", with: { users: "users.yaml" } }, maildir],
  });
  const user = (action: string, address: string[], password?: string) =>
    postrider(["user", action, "--config", config, ...address, ...password ? ["--password-stdin"] : []], {
      stdin: password ? `${password}\n` : "",
    });
  const zoe = ["zoe@example.test"];
  const added = await user("add", zoe, "first word");
  equal(added.code, 0, added.stderr);
  equal((await Deno.stat(folder.at("users.yaml"))).mode! & 0o777, 0o600);
  equal((await user("add", zoe, "again")).code, 1);
  equal((await user("list", [])).stdout, "zoe@example.test\n");
  equal(await login(config, "first word"), 235);
  equal(await login(config, "second word"), 535);
  equal((await user("passwd", zoe, "second word")).code, 0);
  equal(await login(config, "second word"), 235);
  equal(await login(config, "first word"), 535);
  equal((await user("remove", zoe)).code, 0);
  equal((await user("list", [])).stdout, "");
  equal((await user("remove", zoe)).code, 1);
  equal(await login(config, "second word"), 535);
  ok(!(await Deno.readTextFile(folder.at("users.yaml"))).includes("word"));
});

/** What a new server says to zoe with this password. */
async function login(config: string, password: string): Promise<number> {
  await using server = await ServerProcess.start(config);
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.send(`AUTH PLAIN ${btoa(`\0zoe@example.test\0${password}`)}\r\n`);
  return (await client.reply()).code;
}
