/** Proxy mode between real servers: Postfix behind it, which refuses and logs as it does; and Postfix before it. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { makeCertificate } from "./certificate.ts";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { listMaildir, untilMessages } from "./mailbox.ts";
import { accounts, attachment, noise, password } from "./mailhost.ts";
import { NextHop, type Rules } from "./next_hop.ts";
import { type Door, drawPorts, type Ports, type Postfix, startPostfix } from "./postfix.ts";
import { type Ended, run } from "./programs.ts";
import { postrider, ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

const address = "127.0.0.1";
const boxes = ["in", "out"];

/** What Postfix thinks of mail, beyond what it knows by itself. */
const rules = `
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_authorized_xforward_hosts = 127.0.0.0/8
smtpd_recipient_restrictions = check_recipient_access inline:{ {greylisted@in.remote.test = 450 4.7.1 Come back later}, {closed@in.remote.test = 550 5.7.26 Not for you} }
smtpd_sender_restrictions = check_sender_access inline:{ {spammer@elsewhere.test = 554 5.1.8 You are known} }
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject
header_checks = regexp:{ {/^Subject: forbidden/ REJECT 5.7.1 We do not like the subject} }
`;

/** Our server in front of Postfix. */
class Front implements AsyncDisposable {
  private constructor(
    readonly server: ServerProcess,
    readonly postfix: Postfix,
    readonly ports: Ports,
    readonly folder: Folder,
    readonly config: string,
    readonly undo: AsyncDisposableStack,
  ) {}

  /** @param how Of the plugin `proxy`, where it doesn't stand in front of in.remote.test. */
  static async open(
    how: Record<string, unknown> = {},
    settings: (ports: Ports) => Record<string, unknown> = () => ({}),
    door: Door = "clear",
  ): Promise<Front> {
    await using undo = new AsyncDisposableStack();
    const folder = undo.use(await makeFolder());
    const certificate = await makeCertificate(folder, "mx.example.test");
    const certificates = { right: certificate, impostor: certificate, stranger: certificate };
    const ports = drawPorts();
    await folder.write("users.yaml", await accounts("alice"));
    const options = { domains: ["in.remote.test"], host: address, port: ports[door], ...how };
    const proxy = { use: "proxy", with: options, timeout: "2s" };
    const more = settings(ports);
    const config = await writeSettings(folder, { plugins: [proxy, maildir], ...more });
    const server = undo.use(await ServerProcess.start(config, { listeners: more["listen"] ? 2 : 1 }));
    const postfix = undo.use(
      await startPostfix({ folder, ports, certificates, boxes, ours: server.port(), settings: rules }),
    );
    return new Front(server, postfix, ports, folder, config, undo.move());
  }

  swaks(to: string, ...more: string[]): Promise<Ended> {
    const where = more.includes("--port") ? [] : ["--port", String(this.server.port())];
    const from = more.includes("--from") ? [] : ["--from", "bob@elsewhere.test"];
    const who = ["--helo", "client.test", "--timeout", "30s", "--to", to];
    return run("swaks", ["--server", address, ...where, ...from, ...who, ...more]);
  }

  /** What the queue holds: nothing, always. */
  async queue(): Promise<unknown> {
    const { stdout } = await postrider(["queue", "list", "--json", "--config", this.config]);
    return JSON.parse(stdout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.undo.disposeAsync();
  }
}

/** All that one client hears of one message, from MAIL to the dot. */
async function hear(port: number, from: string, to: readonly string[], subject: string): Promise<string[]> {
  using client = await RawClient.connect(port);
  const heard: string[] = [];
  const say = async (line: string) => {
    await client.send(`${line}\r\n`);
    const { code, lines } = await client.reply();
    heard.push(`${code} ${lines.join(" / ")}`);
    return code;
  };
  await client.say("EHLO client.test");
  await client.say(`MAIL FROM:<${from}>`);
  const codes = [];
  for (const one of to) codes.push(await say(`RCPT TO:<${one}>`));
  if (codes.some((code) => code < 300)) {
    await client.say("DATA", 354);
    await say(`Subject: ${subject}\r\n\r\nHello.\r\n.`);
  }
  return heard;
}

Deno.test("swaks → proxy → Postfix: the message is there, and its words are Postfix'", async () => {
  await using front = await Front.open();
  const { code, stdout } = await front.swaks("alice@in.remote.test", "--header", "Subject: through");
  equal(code, 0, stdout);
  const [queued] = /<-\s+250 2\.0\.0 Ok: \d+ bytes queued as \w+/.exec(stdout) ?? [];
  ok(queued, stdout);
  const [bytes] = await untilMessages(front.postfix.maildir("in"), 1);
  const text = bytes!.toString("latin1");
  match(text, /^Subject: through\r?$/m);
  const received = text.match(/^Received:/gm)!;
  equal(received.length, 2, text); // Postfix' and ours
  match(text, /Received: from client\.test \(\[127\.0\.0\.1\]\)\s+by mx\.example\.test/);
  const passed = await front.server.logged("passed on");
  equal(passed["host"], `[${address}]:${front.ports.clear}`);
  match(queued, new RegExp(`${String(passed["reply"]).split(" ").at(-1)}$`));
  deepEqual(await front.queue(), []);
});

Deno.test("what Postfix refuses at RCPT and at the dot the client hears word by word", async (t) => {
  await using front = await Front.open();
  const bob = "bob@elsewhere.test";
  const good = "alice@in.remote.test";
  const cases: [name: string, from: string, to: string[], subject: string, expected: RegExp][] = [
    ["greylisted", bob, ["greylisted@in.remote.test"], "x", /^450 4\.7\.1 <greylisted@.*Come back later/],
    ["refused", bob, ["closed@in.remote.test", good], "x", /^550 5\.7\.26 <closed@.*Not for you/],
    [
      "sender",
      "spammer@elsewhere.test",
      [good],
      "x",
      /^554 5\.1\.8 <spammer@elsewhere\.test>.*You are known/,
    ],
    ["at the dot", bob, [good], "forbidden", /^250 2\.1\.5 Ok$/],
    ["strange domain", bob, ["x@in.remote.test", good], "forbidden", /^250/],
  ];
  for (const [name, from, to, subject, expected] of cases) {
    await t.step(name, async () => {
      const direct = await hear(front.ports.clear, from, to, subject);
      const proxied = await hear(front.server.port(), from, to, subject);
      // The queue id is another each time; to BDAT, which goes to it, it says how many octets there were.
      const words = (replies: string[]) =>
        replies.map((one) => one.replace(/(\d+ bytes )?queued as \w+/, "queued as ID"));
      deepEqual(words(proxied), words(direct));
      match(proxied[0]!, expected);
    });
  }
});

Deno.test("a client's XCLIENT and XFORWARD in Postfix' log: who it is, what it calls itself, our id", async (t) => {
  for (
    const [option, pattern] of [
      ["xclient", /smtpd\[\d+\]: \w+: client=unknown\[127\.0\.0\.2\]/],
      ["xforward", /client=\w*\[127\.0\.0\.1\], orig_queue_id=(\w+), orig_client=unknown\[127\.0\.0\.2\]/],
    ] as const
  ) {
    await t.step(option, async () => {
      await using front = await Front.open({ [option]: true });
      for (let n = 0; n < 2; n++) { // the second one on a connection that was used
        const { code, stdout } = await front.swaks("a@in.remote.test", "--local-interface", "127.0.0.2");
        equal(code, 0, stdout);
      }
      const [bytes] = await untilMessages(front.postfix.maildir("in"), 2);
      const log = await front.postfix.log();
      const found = [...log.matchAll(new RegExp(pattern, "g"))];
      equal(found.length, 2, log);
      if (option === "xforward") {
        const ids = front.server.log.filter(({ event }) => event === "passed on").map(({ id }) => id);
        deepEqual(found.map(([, id]) => id), ids);
        match(log, /orig_client=unknown\[127\.0\.0\.2\]/);
      } else {
        match(bytes!.toString("latin1"), /Received: from client\.test \(unknown \[127\.0\.0\.2\]\)/);
        const rejected = await front.swaks("closed@in.remote.test", "--local-interface", "127.0.0.3");
        equal(rejected.code, 24, rejected.stdout);
        match(
          await front.postfix.log(),
          /NOQUEUE: reject: RCPT from unknown\[127\.0\.0\.3\].*helo=<client\.test>/,
        );
      }
    });
  }
});

Deno.test("authentication in front: only who logs in gets through, and Postfix hears who that is", async () => {
  const listen = [{ port: 0, address }, { port: 0, address, role: "submission" }];
  const tls = { cert: "cert.pem", key: "key.pem" };
  await using front = await Front.open({}, (ports) => ({
    listen,
    tls,
    plugins: [
      { use: "auth", with: { users: "users.yaml" } },
      { use: "proxy", with: { domains: "any", host: address, port: ports.clear, xclient: true } },
      maildir,
    ],
  }));
  const login = [
    "--tls",
    "--auth",
    "PLAIN",
    "--auth-user",
    "alice@example.test",
    "--auth-password",
    password,
  ];
  const alice = ["--from", "alice@example.test", "--port", String(front.server.port(1))];
  const stranger = await front.swaks("x@out.remote.test");
  equal(stranger.code, 24, stranger.stdout);
  match(stranger.stdout, /550 5\.7\.1 /);
  const unknown = await front.swaks("x@out.remote.test", ...alice, "--tls");
  match(unknown.stdout, /530 5\.7\.0 /);
  const sent = await front.swaks("x@out.remote.test", ...alice, ...login);
  equal(sent.code, 0, sent.stdout);
  match(sent.stdout, /250 2\.0\.0 Ok: .*queued as/);
  await untilMessages(front.postfix.maildir("out"), 1);
  match(
    await front.postfix.log(),
    /client=unknown\[127\.0\.0\.1\], sasl_method=\w+, sasl_username=alice@example\.test/,
  );
  // Her mail to a mailbox here stays here.
  const here = await front.swaks("bob@example.test", ...alice, ...login);
  equal(here.code, 0, here.stdout);
  equal((await untilMessages(mailboxOf(front.folder, "bob"), 1)).length, 1);
});

Deno.test("TLS towards Postfix, and a message of 30 MB, octet by octet", async () => {
  await using front = await Front.open({}, undefined, "right");
  const large = noise(30);
  const path = await front.folder.write("large.bin", large);
  const { code, stdout, stderr } = await front.swaks("a@in.remote.test", "--attach", `@${path}`, "-S");
  equal(code, 0, stdout + stderr);
  const [bytes] = await untilMessages(front.postfix.maildir("in"), 1);
  const content = Buffer.from(bytes!.toString("latin1").replaceAll("\n", "\r\n"), "latin1");
  ok(attachment({ returnPath: "", deliveredTo: "", received: "", content, bytes: content }).equals(large));
  equal((await front.server.logged("passed on"))["tls"], "TLSv1.3");
  deepEqual(await front.queue(), []);
});

Deno.test("a next hop that is gone: 451, and nothing is kept", async () => {
  await using front = await Front.open();
  equal((await front.swaks("a@in.remote.test")).code, 0);
  await front.postfix[Symbol.asyncDispose]();
  const { code, stdout } = await front.swaks("a@in.remote.test");
  equal(code, 24, stdout);
  match(stdout, /451 4\.4\.[12] The next server does not answer now/);
  await front.server.logged("not passed on");
  deepEqual(await front.queue(), []);
});

// ── Postfix before it

/** Postfix that sends example.test's mail to our proxy, behind which a next hop says what a test wants. */
async function behind(undo: AsyncDisposableStack, rules: Rules) {
  const folder = undo.use(await makeFolder());
  const certificate = await makeCertificate(folder, "mx.example.test");
  const hop = undo.use(new NextHop(rules));
  const proxy = { use: "proxy", with: { domains: ["example.test"], host: address, port: hop.port } };
  const mailboxes = { ...maildir, with: { ...maildir.with, users: ["two@example.test"] } };
  const server = undo.use(
    await ServerProcess.start(await writeSettings(folder, { plugins: [mailboxes, proxy] })),
  );
  const ports = drawPorts();
  const postfix = undo.use(
    await startPostfix({
      folder,
      ports,
      certificates: { right: certificate, impostor: certificate, stranger: certificate },
      boxes: ["back"],
      ours: server.port(),
      settings: "minimal_backoff_time = 1s\nqueue_run_delay = 1s\n",
    }),
  );
  return { folder, hop, server, postfix, ports };
}

async function send(port: number, ...to: string[]): Promise<void> {
  using client = await RawClient.connect(port);
  await client.say("EHLO client.test");
  await client.envelope("bob@back.remote.test", ...to);
  await client.say("Subject: from Postfix\r\n\r\n..dotted\r\nHello.\r\n.");
}

Deno.test("Postfix → proxy → next hop: one transaction goes one way, and the rest comes in another", async () => {
  await using undo = new AsyncDisposableStack();
  const { folder, hop, ports, postfix } = await behind(undo, {});
  await send(ports.clear, "one@example.test", "two@example.test", "three@example.test");
  const [arrival] = await hop.untilCount(1);
  await untilMessages(mailboxOf(folder, "two"), 1);
  const all = () => hop.arrivals.flatMap(({ recipients }) => recipients).toSorted();
  // Whichever was first: the others had 452, and came again.
  while (all().length < 2) await hop.untilCount(hop.arrivals.length + 1);
  deepEqual(all(), ["one@example.test", "three@example.test"]);
  match(arrival!.content.toString("latin1"), /\r\n\r\n\.dotted\r\nHello\.\r\n$/);
  match(await postfix.log(), /452 4\.5\.3 This recipient goes another way/);
});

Deno.test("Postfix → proxy → next hop: a refusal becomes Postfix' bounce, in the next hop's words", async () => {
  await using undo = new AsyncDisposableStack();
  const { ports, postfix, hop } = await behind(undo, {
    rcpt: (to) => to.startsWith("nobody") ? "550-5.1.1 There is\r\n550 5.1.1 nobody here" : undefined,
    dot: () => "554 5.7.1 Not such mail",
  });
  await send(ports.clear, "nobody@example.test");
  const [first] = await untilMessages(postfix.maildir("back"), 1);
  match(
    first!.toString("latin1"),
    /550[ -]5\.1\.1 There is\s+550 5\.1\.1 nobody here|5\.1\.1 There is.*nobody here/,
  );
  await send(ports.clear, "one@example.test");
  await untilMessages(postfix.maildir("back"), 2);
  match(
    await postfix.log(),
    /status=bounced \(host 127\.0\.0\.1\[127\.0\.0\.1\] said: 554 5\.7\.1 Not such mail/,
  );
  equal(hop.arrivals.length, 0);
  equal((await listMaildir(postfix.maildir("back"))).length, 2);
});
