/** Sockets that systemd opens: systemd-socket-activate does what systemd does with a socket unit. */
import { match, strictEqual as equal } from "node:assert/strict";
import { makeCertificate } from "./certificate.ts";
import { makeFolder } from "./folder.ts";
import { listMaildir } from "./mailbox.ts";
import { freePort } from "./ports.ts";
import { run } from "./programs.ts";
import { postrider, root, ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

const address = "127.0.0.1";

/** Runs a command, which must not inherit the sockets. */
const lister = `export default ({ definePlugin }) => definePlugin({ name: "lister", setup(on, _, host) {
  on("connect", async () => {
    const { stdout } = await new Deno.Command("ls", { args: ["-l", "/proc/self/fd"] }).output();
    await Deno.writeFile(host.state + "/../../descriptors", stdout);
  });
} });`;

function activated(sockets: readonly (number | string)[], names: string): { command: string[] } {
  const listen = sockets.flatMap((
    where,
  ) => ["-l", typeof where === "number" ? `${address}:${where}` : where]);
  const serve = [Deno.execPath(), "run", "-A", `${root}mod.ts`];
  return { command: ["systemd-socket-activate", ...listen, `--fdname=${names}`, ...serve] };
}

Deno.test("systemd's sockets: the first client starts the server, and each name has its listener", async () => {
  await using folder = await makeFolder();
  await makeCertificate(folder, "mx.example.test");
  await folder.write("lister.js", lister);
  const config = await writeSettings(folder, {
    listen: [{ systemd: "smtp" }, { systemd: "smtps", tls: "implicit" }],
    tls: { cert: "cert.pem", key: "key.pem" },
    plugins: ["./lister.js", maildir],
  });
  const [plain, other, encrypted] = [freePort(), freePort(), freePort()];
  await using server = ServerProcess.spawn(config, activated([plain, other, encrypted], "smtp:smtp:smtps"));
  await server.said(`Listening on ${address}:${encrypted}`);
  for (const [port, how] of [[plain, "--tls"], [other, "--tls"], [encrypted, "--tls-on-connect"]] as const) {
    const { code, stdout } = await run("swaks", [
      ...["--server", address, "--port", String(port), how, "--helo", "client.test", "--timeout", "60s"],
      ...["--from", "bob@elsewhere.test", "--to", "alice@example.test"],
    ]);
    equal(code, 0, stdout);
  }
  equal((await listMaildir(mailboxOf(folder, "alice"))).length, 3);
  const inherited = await Deno.readTextFile(folder.at("state", "descriptors"));
  match(inherited, / -> /);
  equal(/ [3-9] -> socket:/.test(inherited), false, `a command has systemd's sockets:\n${inherited}`);
  equal(await server.stop(), 0);
});

Deno.test("systemd's sockets: a Unix socket among them, and a name that isn't there, are told at start", async () => {
  await using folder = await makeFolder();
  const port = freePort();
  for (
    const [systemd, why] of [["unix", /no TCP socket/], ["other", /called "other", only smtp, unix/]] as const
  ) {
    const config = await writeSettings(folder, { listen: [{ systemd }] });
    await using server = ServerProcess.spawn(config, activated([port, folder.at("socket")], "smtp:unix"));
    await server.said(`Listening on ${address}:${port}`);
    using _client = await Deno.connect({ hostname: address, port });
    equal(await server.ended, 1);
    match(server.stderr, why);
    await Deno.remove(folder.at("socket"));
  }
});

Deno.test("systemd's sockets: without systemd the start says so", async () => {
  await using folder = await makeFolder();
  const config = await writeSettings(folder, { listen: [{ systemd: "smtp" }] });
  const { code, stderr } = await postrider(["serve", "--config", config]);
  equal(code, 1);
  match(stderr, /systemd passed no socket to this process/);
});
