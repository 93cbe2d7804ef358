/** The examples, run as they are, except for their ports. */
import { match, ok, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { onlyMessage } from "./mailbox.ts";
import { startDovecot } from "./dovecot.ts";
import { startNsd } from "./nsd.ts";
import { freePort } from "./ports.ts";
import { run, spawn } from "./programs.ts";
import { postrider, root, ServerProcess } from "./server.ts";
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

/** Changes one place of a configuration, and says more at its end. */
async function change(config: string, from: string, to: string, more = ""): Promise<void> {
  const text = await Deno.readTextFile(config);
  equal(text.split(from).length, 2, from);
  await Deno.writeTextFile(config, text.replace(from, () => to) + more);
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

/** DNS as examples/mx meets it: a listed client, a domain whose mail is forged, one whose isn't. */
const zones = {
  "spamhaus.org": '2.0.0.127.zen A 127.0.0.2\n2.0.0.127.zen TXT "listed for a test"\n',
  "dnswl.org": "",
  "forged.test": '@ TXT "v=spf1 -all"\n_dmarc TXT "v=DMARC1; p=reject"\n',
  "honest.test": '@ TXT "v=spf1 ip4:127.0.0.0/8 -all"\n_dmarc TXT "v=DMARC1; p=reject"\n',
};

Deno.test("examples/mx: the listed and the forged are refused, a stranger waits once, and Dovecot has the rest", async () => {
  await using folder = await makeFolder();
  await Deno.chmod(folder.path, 0o755); // Dovecot runs as another than root
  await using nsd = await startNsd(folder, zones);
  await using dovecot = await startDovecot(folder.at("dovecot"));
  const config = await copyExample(folder, "mx");
  await change(config, "/run/dovecot/lmtp", dovecot.lmtp.path, `dns: { servers: ["${nsd.address}"] }\n`);
  await change(config, "wait: 5m", "wait: 1s");
  await using server = await ServerProcess.start(config, { listeners: 2 });
  /** The last thing swaks hears. */
  const send = async (from: string, address: string) => {
    const { stdout } = await run("swaks", [
      ...[
        "--server",
        `127.0.0.1:${server.port()}`,
        "--local-interface",
        address,
        "--helo",
        "mail.honest.test",
      ],
      ...["--from", from, "--to", "sales@example.test", "--header", `From: <${from}>`],
    ]);
    return [...stdout.matchAll(/^<[~*-]+\s+([0-9]{3} .*)$/gm)].map(([, reply]) => reply!).at(-2)!;
  };
  match(await send("bob@honest.test", "127.0.0.2"), /^5[0-9]{2} 5\.7\.1 .*zen\.spamhaus\.org/);
  let reply = await send("bob@honest.test", "127.0.0.1");
  match(reply, /^451 4\.7\.1 /);
  while (reply.startsWith("451")) reply = await send("bob@honest.test", "127.0.0.1");
  match(reply, /^250 .*Queued as/);
  do reply = await send("boss@forged.test", "127.0.0.1"); while (reply.startsWith("451"));
  match(reply, /^550 5\.7\.26 DMARC: forged\.test/);
  await submit(server.port(1), "alice@example.test", "to myself");
  for (const from of ["bob@honest.test", "alice@example.test"]) {
    await server.logged("delivered", (line) => line["from"] === from);
  }
  const mail = (await dovecot.fetchAll(["alice@example.test"])).get("alice@example.test")!.map(String);
  equal(mail.length, 2);
  match(mail[0]!, /^Authentication-Results: mx\.example\.test;[^]*spf=pass[^]*dmarc=pass/m);
  match(mail[1]!, /^Subject: to myself\r$/m);
});

Deno.test("examples/proxy: the server behind answers, an impostor never gets there, and nobody home is 451", async () => {
  await using folder = await makeFolder();
  const behind = await startSink(folder.at("behind"));
  await using _behind = behind;
  const config = await copyExample(folder, "proxy", { 2526: behind.port });
  await using server = await ServerProcess.start(config);
  const say = async (from: string, code: number) => {
    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    await client.envelope("boss@elsewhere.test", "alice@example.test");
    return (await client.say(`From: ${from}\r\nSubject: Hello\r\n\r\nHello.\r\n.`, code)).lines[0]!;
  };
  match(await say('"alice ANDERS" <boss@elsewhere.test>', 550), /^5\.7\.1 This is somebody else's name here/);
  match(await say("Bob <boss@elsewhere.test>", 250), /^2\.0\.0 Ok/);
  const [taken, ...others] = await behind.taken();
  match(taken!, /^From: Bob <boss@elsewhere\.test>$/m);
  equal(others.length, 0);
  await behind[Symbol.asyncDispose]();
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.say("MAIL FROM:<boss@elsewhere.test>");
  await client.say("RCPT TO:<alice@example.test>", 451);
});

Deno.test("examples/submission: the key is made, mail leaves signed, and nobody writes as another", async () => {
  await using folder = await makeFolder();
  await using provider = await startSink(folder.at("provider"));
  const config = await copyExample(folder, "submission", { 2526: provider.port });
  const made = await postrider(["dkim", "keygen", "--config", config]);
  equal(made.code, 0, made.stderr);
  match(made.stdout, /app\._domainkey\.example\.test\. IN TXT/);
  await using server = await ServerProcess.start(config);
  await submit(server.port(), "customer@elsewhere.test", "Your receipt");
  await server.logged("delivered", (line) => line["to"] === "customer@elsewhere.test");
  match(
    (await provider.taken())[0]!,
    /^DKIM-Signature: [^]*d=example\.test;[^]*s=app;[^]*^Subject: Your receipt$/m,
  );
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.say(`AUTH PLAIN ${btoa("\0alice@example.test\0postrider")}`, 235);
  await client.say("MAIL FROM:<bob@example.test>", 553);
  const tracked = await postrider(["track", "--config", config, "customer@elsewhere.test"]);
  match(tracked.stdout, / {2}delivered$/m);
});

/** The lines of a program's output, as they come. */
function linesOf(output: ReadableStream<Uint8Array>): AsyncIterator<string> {
  async function* lines() {
    let rest = "";
    for await (const piece of output.pipeThrough(new TextDecoderStream() as TransformStream)) {
      const whole = (rest + piece).split("\n");
      rest = whole.pop()!;
      yield* whole;
    }
  }
  return lines();
}

Deno.test("examples/webhook: the application has the message, hears what became of it, and believes nobody else", async () => {
  await using folder = await makeFolder();
  const port = freePort();
  const config = await copyExample(folder, "webhook");
  await change(config, "127.0.0.1:8025/mail", `127.0.0.1:${port}/mail`);
  await change(config, "127.0.0.1:8025/events", `127.0.0.1:${port}/events`);
  const application = spawn(Deno.execPath(), ["run", "-A", folder.at("webhook", "receiver.ts")], {
    env: { PORT: String(port) },
    stdout: "piped",
    stderr: "null",
    stdin: "null",
  });
  const said = linesOf(application.stdout);
  try {
    equal((await said.next()).value, "listening");
    await using server = await ServerProcess.start(config);
    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    await client.envelope("bob@elsewhere.test", "ticket-17@in.example.test");

    await client.say("From: bob@elsewhere.test\r\nSubject: It is broken\r\n\r\nHelp.\r\n.");
    equal((await said.next()).value, "bob@elsewhere.test → ticket-17@in.example.test: It is broken");
    const { events: [event] } = JSON.parse((await said.next()).value!);
    equal(`${event.kind} ${event.recipient}`, "delivered ticket-17@in.example.test");
    const forged = await fetch(`http://127.0.0.1:${port}/mail`, { method: "POST", body: "{}" });
    equal(forged.status, 401);
    await forged.body?.cancel();
  } finally {
    application.kill("SIGTERM");
    await said.return?.();
    await application.status;
  }
});

Deno.test("`deno task start` runs the quick start", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(`${root}/deno.json`));
  equal(tasks.start, "deno run -A mod.ts serve --config examples/quickstart/postrider.yaml");
});
