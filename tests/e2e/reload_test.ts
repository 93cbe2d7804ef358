/** SIGHUP, and certificates that change under a running server. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { makeCertificate } from "./certificate.ts";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { onlyMessage } from "./mailbox.ts";
import { run } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { deliver, deliverOn, mailboxOf, maildir, writeSettings } from "./small_server.ts";

/** A user's own plugin, written as it works in any folder. */
const tagger = (name: string) => `
export default ({ definePlugin, z }) => definePlugin({
  name: "tagger",
  options: z.object({ tag: z.string() }),
  setup(on, { tag }) {
    on("data", (_session, message) => message.prependHeader("${name}", tag));
  },
});
`;

const writeTag = (folder: Folder, tag: unknown) =>
  writeSettings(folder, { plugins: [{ use: "./tagger.js", with: { tag } }, maildir] });

async function headerOf(folder: Folder, user: string): Promise<string> {
  return (await onlyMessage(mailboxOf(folder, user))).content.toString().split("\n")[0]!;
}

Deno.test("SIGHUP: new options are in force, a broken configuration changes nothing", async () => {
  await using folder = await makeFolder();
  await folder.write("tagger.js", tagger("X-Tag"));
  const config = await writeTag(folder, "one");
  await using server = await ServerProcess.start(config);
  using early = await RawClient.connect(server.port());
  await early.say("EHLO client.test");
  await deliver(server.port(), "first");
  equal(await headerOf(folder, "first"), "X-Tag: one");

  await writeTag(folder, "two");
  server.signal("SIGHUP");
  await server.logged("reloaded", ({ generation }) => generation === 2);
  await deliver(server.port(), "second");
  equal(await headerOf(folder, "second"), "X-Tag: two");
  await deliverOn(early, "early", "begun before");
  equal(await headerOf(folder, "early"), "X-Tag: one");

  await writeTag(folder, 3);
  server.signal("SIGHUP");
  await server.logged("not reloaded: everything stays as it was");
  const problems = server.log.filter(({ level, event }) => level === "error" && event.startsWith(config));
  deepEqual(problems.length, 1);
  match(problems[0]!.event, /postrider\.yaml:5:\d+: /);
  await deliver(server.port(), "third");
  equal(await headerOf(folder, "third"), "X-Tag: two");

  await writeTag(folder, "four");
  await folder.write("tagger.js", tagger("X-New-Code"));
  server.signal("SIGHUP");
  await server.logged("reloaded", ({ generation }) => Number(generation) > 2);
  await deliver(server.port(), "fourth");
  equal(await headerOf(folder, "fourth"), "X-New-Code: four");
  equal(await server.stop(), 0);
});

Deno.test("SIGHUP: YAML that can't be read is named with file, line and column", async () => {
  await using folder = await makeFolder();
  const config = await writeSettings(folder);
  await using server = await ServerProcess.start(config);
  await folder.write("postrider.yaml", "hostname: mx.example.test\nplugins: [\n");
  server.signal("SIGHUP");
  await server.logged("not reloaded: everything stays as it was");
  ok(server.log.some(({ event }) => new RegExp(`^${config}:\\d+:\\d+: `).test(event)), server.stderr);
  await deliver(server.port(), "alice");
});

/** What openssl is shown: the name, and the kind of key that signed. */
async function shown(port: number, serverName = "mx.example.test"): Promise<string> {
  const { stdout } = await run("openssl", [
    ...["s_client", "-connect", `127.0.0.1:${port}`, "-starttls", "smtp", "-servername", serverName],
  ], { stdin: "QUIT\r\n" });
  const name = /^subject=CN ?= ?(.*)$/m.exec(stdout)?.[1];
  return `${name} ${/^Peer signature type: (\S+)/m.exec(stdout)?.[1]}`;
}

const tls = { tls: { cert: "cert.pem", key: "key.pem" } };

Deno.test("T03 the server name that a client asks for picks the certificate", async () => {
  await using folder = await makeFolder();
  await using other = await makeFolder();
  const first = await makeCertificate(folder, "one.example.test", "ec");
  const second = { ...await makeCertificate(other, "two.example.test", "rsa"), names: ["two.example.test"] };
  await using server = await ServerProcess.start(await writeSettings(folder, { tls: [first, second] }));
  equal(await shown(server.port(), "one.example.test"), "one.example.test ECDSA");
  equal(await shown(server.port(), "two.example.test"), "two.example.test RSA-PSS");
  equal(await shown(server.port(), "strange.example.test"), "one.example.test ECDSA");
});

Deno.test("T03 SIGHUP takes a new certificate, and sessions that run go on", async () => {
  await using folder = await makeFolder();
  await makeCertificate(folder, "old.example.test", "rsa");
  await using server = await ServerProcess.start(await writeSettings(folder, tls));
  match(await shown(server.port()), /^old\.example\.test RSA-PSS$/);
  using early = await RawClient.connect(server.port());
  await early.say("EHLO client.test");
  await makeCertificate(folder, "new.example.test", "ec");
  server.signal("SIGHUP");
  await server.logged("reloaded");
  match(await shown(server.port()), /^new\.example\.test ECDSA$/);
  await deliverOn(early, "alice", "begun before");
});

Deno.test("T03 a certificate replaced on disk is shown without a signal, a key that doesn't fit never", async () => {
  await using folder = await makeFolder();
  const { key } = await makeCertificate(folder, "old.example.test", "ec");
  await using server = await ServerProcess.start(await writeSettings(folder, tls));
  await makeCertificate(folder, "new.example.test", "rsa");
  await server.logged("certificates reloaded");
  match(await shown(server.port()), /^new\.example\.test RSA-PSS$/);
  await using elsewhere = await makeFolder();
  const other = await makeCertificate(elsewhere, "other.example.test", "ec");
  await Deno.copyFile(other.key, key);
  const { error } = await server.logged("certificates not reloaded: the old ones stay");
  match(String(error), /the private key .*key\.pem does not belong to the certificate .*cert\.pem/);
  match(await shown(server.port()), /^new\.example\.test RSA-PSS$/);
});

// ── Code ───────────────────────────────────────────────────────────────────────────────────────────

/** Its header's value comes from a file that it imports, in a folder beside. */
const importing = `
import { value } from "./lib/value.ts";
export default ({ definePlugin }) => definePlugin({
  name: "importing",
  setup(on, _options, host) {
    on("data", (_session, message) => message.prependHeader("X-Value", value));
    on("vrfy", () => { throw new Error("a bug") });
    return () => host.log.info("closed", { value });
  },
});
`;

async function writeValue(folder: Folder, code: string): Promise<void> {
  await Deno.mkdir(folder.at("lib"), { recursive: true });
  await folder.write("lib/value.ts", code);
}

Deno.test("SIGHUP: what a plugin imports is read again, a bug in it keeps the old and is named, places are the author's", async () => {
  await using folder = await makeFolder();
  await folder.write("importing.ts", importing);
  await writeValue(folder, 'export const value: string = "one";\n');
  const config = await writeSettings(folder, { plugins: [{ use: "./importing.ts" }, maildir] });
  await using server = await ServerProcess.start(config);
  await writeValue(folder, "export const value: string = = 2;\n");
  server.signal("SIGHUP");
  await server.logged("not reloaded: everything stays as it was");
  const problem = server.log.find(({ event }) => event.includes("cannot be imported"))!.event;
  match(
    problem,
    /postrider\.yaml:5:\d+: \.\/importing\.ts cannot be imported: .* \(\.\/lib\/value\.ts:1:30\)$/,
  );
  await deliver(server.port(), "first");
  equal(await headerOf(folder, "first"), "X-Value: one");

  await writeValue(folder, 'export const value: string = "two";\n');
  server.signal("SIGHUP");
  await server.logged("closed", ({ value }) => value === "one");
  await deliver(server.port(), "second");
  equal(await headerOf(folder, "second"), "X-Value: two");
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.say("VRFY somebody", 252);
  const { error } = await server.logged("plugin failed");
  match(String(error), new RegExp(`a bug.* at .*file://${folder.path}/importing\\.ts:7:30`, "s"));
  equal(await server.stop(), 0);
  deepEqual(await Array.fromAsync(Deno.readDir(folder.at("state", "code"))), [], "no link is left");
});

Deno.test("serve --watch: each save of a plugin, of what it imports, and of the configuration is in force", async () => {
  await using folder = await makeFolder();
  await folder.write("importing.ts", importing);
  await writeValue(folder, 'export const value = "one";\n');
  const config = await writeSettings(folder, { plugins: [{ use: "./importing.ts" }, maildir] });
  await using server = await ServerProcess.start(config, { args: ["--watch"] });
  await server.logged("watching");

  await writeValue(folder, 'export const value = "two";\n');
  await server.logged("closed", ({ value }) => value === "one");
  await deliver(server.port(), "second");
  equal(await headerOf(folder, "second"), "X-Value: two");

  await folder.write("importing.ts", importing.replace("./lib/value.ts", "./lib/other.ts"));
  await server.logged("not reloaded: everything stays as it was");
  ok(
    server.log.some(({ event }) => event.includes("it imports ./lib/other.ts, which does not exist")),
    server.stderr,
  );
  await folder.write("lib/other.ts", 'export const value = "other";\n');
  await server.logged("closed", ({ value }) => value === "two");
  await deliver(server.port(), "third");
  equal(await headerOf(folder, "third"), "X-Value: other");

  await writeSettings(folder, { plugins: [maildir] });
  await server.logged("closed", ({ value }) => value === "other");
  await deliver(server.port(), "fourth");
  equal(await headerOf(folder, "fourth"), "Subject: fourth");
  equal(await server.stop(), 0);
});
