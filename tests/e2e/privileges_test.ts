/** `user:`: started by root, run as somebody else. Only root can try it. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { makeCertificate } from "./certificate.ts";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { listMaildir } from "./mailbox.ts";
import { accounts } from "./mailhost.ts";
import { run } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { deliver, mailboxOf, maildir, writeSettings } from "./small_server.ts";

const nobody = 65_534;

/** Packages are imported after root's rights are gone, so the runtime's cache may not be in root's home. */
async function copyCache(folder: Folder): Promise<string> {
  const { stdout } = await run(Deno.execPath(), ["info", "--json"]);
  // Only the packages: what else is there changes while other tests run.
  await Deno.mkdir(folder.at("deno"));
  const packages = `${JSON.parse(stdout).denoDir}/npm`;
  const { code, stderr } = await run("cp", ["-r", packages, folder.at("deno")]);
  equal(code, 0, stderr);
  return folder.at("deno");
}

async function giveAway(folder: Folder): Promise<void> {
  const { code, stderr } = await run("chown", ["-R", `${nobody}:${nobody}`, folder.path]);
  equal(code, 0, stderr);
}

Deno.test({
  name: "user: no thread keeps root's rights, and everything still works",
  ignore: Deno.uid() !== 0,
  async fn() {
    await using folder = await makeFolder();
    await makeCertificate(folder, "mx.example.test");
    await folder.write("users.yaml", await accounts("alice"));
    await folder.write(
      "plugin.js",
      "export default ({ definePlugin }) => definePlugin({ name: 'mine', setup() {} });",
    );
    const plugins = [{ use: "auth", with: { users: "users.yaml" } }, { use: "./plugin.js" }, maildir];
    const config = await writeSettings(folder, {
      user: "nobody",
      listen: [
        { port: 0, address: "127.0.0.1" },
        { port: 0, address: "127.0.0.1", role: "submission", allowPlain: true },
      ],
      tls: { cert: "cert.pem", key: "key.pem" },
      plugins,
    });
    const DENO_DIR = await copyCache(folder);
    await giveAway(folder);
    await using server = await ServerProcess.start(config, { listeners: 2, env: { DENO_DIR } });
    await deliver(server.port(), "alice");
    using client = await RawClient.connect(server.port(1));
    await client.say("EHLO client.test");
    await client.say(`AUTH PLAIN ${btoa("\0alice@example.test\0postrider")}`, 235);

    const threads = await Array.fromAsync(Deno.readDir(`/proc/${server.pid}/task`), ({ name }) => name);
    ok(threads.length > 1);
    for (const thread of threads) {
      const status = await Deno.readTextFile(`/proc/${server.pid}/task/${thread}/status`);
      match(status, /^Uid:\t65534\t65534\t65534\t65534$/m);
      match(status, /^Gid:\t65534\t65534\t65534\t65534$/m);
      match(status, /^Groups:\t65534 ?$/m);
      match(status, /^CapEff:\t0+$/m);
    }
    const [name] = await listMaildir(mailboxOf(folder, "alice"));
    const file = await Deno.stat(`${mailboxOf(folder, "alice")}/new/${name}`);
    deepEqual([file.uid, file.mode! & 0o777], [nobody, 0o600]);

    // What is read again is read as that user.
    await makeCertificate(folder, "new.example.test");
    await giveAway(folder);
    server.signal("SIGHUP");
    await server.logged("reloaded");
    await deliver(server.port(), "bob");
    equal(await server.stop(), 0);
    equal(server.log.filter(({ level }) => level === "error").length, 0, server.stderr);
  },
});

Deno.test("user: one that doesn't exist; exit 1, and the name is said", async () => {
  await using folder = await makeFolder();
  await using server = ServerProcess.spawn(await writeSettings(folder, { user: "nosuchuser" }));
  equal(await server.ended, 1);
  match(server.stderr, /nosuchuser/);
});
