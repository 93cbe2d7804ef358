/** The examples, run as they are, except for their ports. */
import { match, ok, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { onlyMessage } from "./mailbox.ts";
import { run } from "./programs.ts";
import { root, ServerProcess } from "./server.ts";
import { startSink } from "./sink.ts";

/** The ports of servers that an example sends to, by those it names. */
type Peers = Readonly<Record<string, number>>;

/** Copies what git would take; the configuration with free ports and a log that can be read. */
async function copyExample(folder: Folder, name: string, peers: Peers = {}): Promise<string> {
  await Deno.mkdir(folder.at(name));
  for await (const { name: file, isFile } of Deno.readDir(`${root}/examples/${name}`)) {
    if (isFile) await Deno.copyFile(`${root}/examples/${name}/${file}`, folder.at(name, file));
  }
  const text = await Deno.readTextFile(folder.at(name, "postrider.yaml"));
  const changed = text.replace(/port: (2525|2587)\b/g, "port: 0")
    .replace(/port: (252[67])\b/g, (_, port) => `port: ${peers[port]}`);
  ok(changed !== text);
  return await folder.write(`${name}/postrider.yaml`, `${changed}\nlog: { format: json }\n`);
}

/** Mail of a user who logged in. */
async function submit(port: number, to: string, subject: string): Promise<void> {
  using client = await RawClient.connect(port);
  await client.say("EHLO client.test");
  await client.say(`AUTH PLAIN ${btoa("\0alice@example.test\0postrider")}`, 235);
  await client.envelope("alice@example.test", to);
  await client.say(`From: alice@example.test\r\nSubject: ${subject}\r\n\r\nHello.\r\n.`);
}

Deno.test("examples/quickstart: README's mail to alice, to her alias, and by herself", async () => {
  await using folder = await makeFolder();
  await using server = await ServerProcess.start(await copyExample(folder, "quickstart"), { listeners: 2 });
  const inbox = folder.at("quickstart", "mail", "example.test", "alice");
  for (const to of ["alice@example.test", "sales@example.test"]) {
    const { code, stderr } = await run("curl", [
      ...["--silent", "--show-error", `smtp://127.0.0.1:${server.port()}`],
      ...["--mail-from", "bob@elsewhere.test", "--mail-rcpt", to, "-T", `${root}/README.md`],
    ]);
    equal(code, 0, stderr);
    const { content } = await onlyMessage(inbox);
    equal(content.toString().trimEnd(), (await Deno.readTextFile(`${root}/README.md`)).trimEnd());
    await Deno.remove(inbox, { recursive: true });
  }
  await submit(server.port(1), "alice@example.test", "to myself");
  match((await onlyMessage(inbox)).content.toString(), /^Subject: to myself$/m);
  equal(await server.stop(), 0);
});

Deno.test("examples/custom-plugin: mail from outside is marked, a colleague's is not", async () => {
  await using folder = await makeFolder();
  await copyExample(folder, "quickstart");
  const config = await copyExample(folder, "custom-plugin");
  await using server = await ServerProcess.start(config, { listeners: 2 });
  const inbox = folder.at("custom-plugin", "mail", "example.test", "alice");
  using stranger = await RawClient.connect(server.port());
  await stranger.say("EHLO client.test");
  await stranger.envelope("bob@elsewhere.test", "alice@example.test");
  await stranger.say("Subject: Invoice\r\n\r\nPay.\r\n.");
  match((await onlyMessage(inbox)).content.toString(), /^Subject: \[external\] Invoice$/m);
  await Deno.remove(inbox, { recursive: true });
  await submit(server.port(1), "alice@example.test", "Lunch");
  match((await onlyMessage(inbox)).content.toString(), /^Subject: Lunch$/m);
});

Deno.test("examples/relay: our own domain goes to the company's server, everything else to the smart host", async () => {
  await using folder = await makeFolder();
  await using smartHost = await startSink(folder.at("smart host"));
  await using company = await startSink(folder.at("company"));
  const config = await copyExample(folder, "relay", { 2526: smartHost.port, 2527: company.port });
  await using server = await ServerProcess.start(config);
  using printer = await RawClient.connect(server.port());
  await printer.say("EHLO printer.test");
  await printer.envelope("printer@example.test", "bob@elsewhere.test", "alice@example.test");
  const { lines } = await printer.say("Subject: Scan\r\n\r\nPage 1.\r\n.");
  match(lines[0]!, /Queued as /);
  for (const [to, sink] of [["bob@elsewhere.test", smartHost], ["alice@example.test", company]] as const) {
    const { host } = await server.logged("delivered", (line) => line["to"] === to);
    equal(host, `[127.0.0.1]:${sink.port}`);
    const [taken, ...others] = await sink.taken();
    equal(others.length, 0);
    match(taken!, new RegExp(`^X-Rcpt-Args: <${to}>$`, "m"));
    match(taken!, /^Received: from printer\.test [^]*^Subject: Scan\n\nPage 1\.\n/m);
  }
  equal(await server.stop(), 0);
});

Deno.test("`deno task start` runs the quick start", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(`${root}/deno.json`));
  equal(tasks.start, "deno run -A mod.ts serve --config examples/quickstart/postrider.yaml");
});
