/** XCLIENT from real clients: swaks, as a proxy would say it, and our own plugin `proxy` in front. */
import { match, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { onlyMessage } from "./mailbox.ts";
import { accounts } from "./mailhost.ts";
import { type Ended, run } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

const address = "127.0.0.1";

/** Believes 127.0.0.0/8; 192.0.2.66 may send anywhere, alice has an account. */
function behind(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    log: { format: "json", level: "debug" },
    listen: [{ port: 0, address, role: "submission", allowPlain: true }, { port: 0, address }],
    proxies: { xclient: ["127.0.0.0/8"], xclientLogin: true },
    plugins: [
      { use: "auth", with: { users: "users.yaml" } },
      { use: "relay", with: { networks: ["192.0.2.66"] } },
      "./wary.js",
      maildir,
    ],
    ...more,
  };
}

const wary = `export default ({ definePlugin, reject }) => definePlugin({ name: "wary", setup(on) {
  on("connect", ({ remote }) => {
    if (remote.address === "192.0.2.13") return reject("5.7.1", "You are not wanted here");
  });
} });`;

function swaks(server: ServerProcess, door: number, to: string, ...more: string[]): Promise<Ended> {
  const from = more.includes("--from") ? [] : ["--from", "bob@elsewhere.test"];
  return run("swaks", [
    ...["--server", address, "--port", String(server.port(door)), "--timeout", "30s"],
    ...["--helo", "proxy.test", "--to", to, ...from, ...more],
  ]);
}

Deno.test("R03 XCLIENT from swaks: the message is the client's, and so is what is refused", async (t) => {
  await using folder = await makeFolder();
  await folder.write("users.yaml", await accounts("alice"));
  await folder.write("wary.js", wary);
  await using server = await ServerProcess.start(await writeSettings(folder, behind()), { listeners: 2 });
  const client = ["--xclient-addr", "192.0.2.7", "--xclient-port", "4711", "--xclient-helo", "client.test"];

  await t.step("Received and the log name the client", async () => {
    const { code, stdout } = await swaks(
      server,
      1,
      "carol@example.test",
      ...client,
      "--xclient-name",
      "c.test",
    );
    equal(code, 0, stdout);
    match(
      (await onlyMessage(mailboxOf(folder, "carol"))).received,
      /^from client\.test \(\[192\.0\.2\.7\]\)/,
    );
    await server.logged("connected", ({ ip }) => ip === "192.0.2.7");
  });
  await t.step("IPv6, PROTO and what nobody knows", async () => {
    const six = [
      "--xclient-addr",
      "IPV6:2001:db8::7",
      "--xclient-proto",
      "SMTP",
      "--xclient-helo",
      "[UNAVAILABLE]",
    ];
    const { code, stdout } = await swaks(server, 1, "six@example.test", ...six);
    equal(code, 0, stdout);
    const { received } = await onlyMessage(mailboxOf(folder, "six"));
    match(received, /^from proxy\.test \(\[IPv6:2001:db8::7\]\)/);
    match(received, /with SMTP id/);
  });
  await t.step("what its address may do, the client may; what the proxy's may, it may not", async () => {
    const relayed = await swaks(
      server,
      1,
      "x@elsewhere.test",
      "--xclient-addr",
      "192.0.2.66",
      "--quit-after",
      "RCPT",
    );
    match(relayed.stdout, /250 2\.1\.5/);
    const { stdout } = await swaks(server, 1, "x@elsewhere.test", ...client);
    match(stdout, /550 5\.7\.1/);
  });
  await t.step("connect is asked of it", async () => {
    const { stdout } = await swaks(server, 1, "carol@example.test", "--xclient-addr", "192.0.2.13");
    match(stdout, /554 You are not wanted here/);
  });
  await t.step("LOGIN is an account, with its addresses; who is none is 535", async () => {
    const login = ["--xclient-addr", "192.0.2.7", "--xclient-login"];
    const from = ["--from", "alice@example.test"];
    const { code, stdout } = await swaks(
      server,
      0,
      "dora@example.test",
      ...login,
      "alice@example.test",
      ...from,
    );
    equal(code, 0, stdout);
    match((await onlyMessage(mailboxOf(folder, "dora"))).received, /with ESMTPA id/);
    const another = await swaks(server, 0, "dora@example.test", ...login, "alice@example.test");
    match(another.stdout, /553 5\.7\.1/);
    const stranger = await swaks(server, 0, "dora@example.test", ...login, "mallory@example.test", ...from);
    match(stranger.stdout, /535 5\.7\.8/);
    const nobody = await swaks(server, 0, "dora@example.test", ...login, "[UNAVAILABLE]", ...from);
    match(nobody.stdout, /530 5\.7\.0/);
  });
  equal(server.log.filter(({ level }) => level === "error").length, 0, server.stderr);
});

Deno.test("R03 XCLIENT from who is no proxy is 550, and not offered", async () => {
  await using folder = await makeFolder();
  const proxies = { xclient: ["192.0.2.1"] };
  await using server = await ServerProcess.start(await writeSettings(folder, { proxies }));
  using client = await RawClient.connect(server.port());
  const { lines } = await client.say("EHLO c.test");
  equal(lines.some((line) => line.startsWith("XCLIENT")), false);
  await client.say("XCLIENT ADDR=192.0.2.7", 550);
});

Deno.test("R03 XCLIENT from our own proxy: the server behind it sees the clients, each with its own address", async () => {
  await using folder = await makeFolder();
  await using back = await ServerProcess.start(
    await writeSettings(folder, { proxies: { xclient: ["127.0.0.1"] } }),
  );
  await using before = await makeFolder();
  const host = { host: address, port: back.port() };
  const proxy = { use: "proxy", with: { domains: ["example.test"], xclient: true, ...host } };
  await using front = await ServerProcess.start(await writeSettings(before, { plugins: [proxy] }));
  for (const last of [7, 8, 7]) {
    const { code, stdout } = await run("swaks", [
      ...["--server", address, "--port", String(front.port()), "--local-interface", `127.0.0.${last}`],
      ...[
        "--helo",
        `c${last}.test`,
        "--from",
        "bob@elsewhere.test",
        "--to",
        `u${last}-${Math.random()}@example.test`,
      ],
    ]);
    equal(code, 0, stdout);
  }
  const boxes = Array.from(Deno.readDirSync(folder.at("mail", "example.test")), ({ name }) => name);
  equal(boxes.length, 3);
  for (const box of boxes) {
    const last = box[1];
    match(
      (await onlyMessage(mailboxOf(folder, box))).received,
      new RegExp(`^from c${last}\\.test \\(\\[127\\.0\\.0\\.${last}\\]\\)`),
    );
  }
});
