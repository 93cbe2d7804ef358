import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { logins, mailboxes, testServer } from "../../../server/testing/mod.ts";
import { Action, type Answers, everyAction, Filter, say, Step } from "./filter.ts";

const to = "alice@example.org";
const box = mailboxes(["example.org"]);

const at = (code: string, ...answer: Uint8Array[]): Answers => (command) =>
  command.code === code ? answer : undefined;

function server(filter: Filter, more: Record<string, unknown> = {}, entry: Record<string, unknown> = {}) {
  return testServer({
    plugins: [{
      use: "milter",
      with: { address: `inet:${filter.address.split(":")[1]}@127.0.0.1`, ...more },
      ...entry,
    }, box],
  });
}

/** Without the macros. */
const commands = (heard: readonly string[]) => heard.filter((one) => !one.startsWith("D "));

Deno.test("milter: the filter hears all there is: who, from whom, for whom, what, octet by octet", async () => {
  await using filter = new Filter();
  await using mail = await server(filter);
  const sent = await mail.send({
    from: "bob@elsewhere.example",
    to,
    ip: "192.0.2.9",
    helo: "client.example",
    headers: { Subject: "Hi", "X-Folded": "one" },
    text: "Hello\r\n",
  });
  equal(sent.outcome, "accepted");
  await filter.left();
  const heard = filter.heard[0]!;
  deepEqual(commands(heard).filter((one) => !/^L (?:From|To|Date|Message-ID)/i.test(one)), [
    "O",
    `C [192.0.2.9]|4${String.fromCharCode(40_000 >> 8, 40_000 & 255)}192.0.2.9|`.trimEnd(),
    "H client.example|",
    "M <bob@elsewhere.example>|",
    "R <alice@example.org>|",
    "T",
    "L Subject|Hi|",
    "L X-Folded|one|",
    "N",
    "B Hello",
    "E",
    "Q",
  ]);
  ok(heard.some((one) => /^D Cj\|mx\.example\.org\|/.test(one) && one.includes("{daemon_name}|MTA|")));
  ok(heard.some((one) => /^D Mi\|\S+\|.*\{mail_addr\}\|bob@elsewhere\.example\|/.test(one)));
});

const refusals: readonly (readonly [string, Uint8Array, string])[] = [
  ["C", say.reject, "554 "],
  ["C", say.tempfail, "421 "],
  ["H", say.reject, "550 "],
  ["M", say.reply("553 5.1.8 Not that sender"), "553 5.1.8 Not that sender"],
  ["M", say.reply("421 4.7.0 Go"), "421 4.7.0 Go"],
  ["R", say.tempfail, "451 4.7.1 The mail filter asks to try again later"],
  ["R", say.reply("452 4.2.2 100%% full"), "452 4.2.2 100% full"],
  ["T", say.reject, "550 5.7.1 Refused by the mail filter"],
  ["L", say.tempfail, "451 4.7.1 The mail filter asks to try again later"],
  ["N", say.reject, "550 5.7.1 Refused by the mail filter"],
  ["B", say.reject, "550 5.7.1 Refused by the mail filter"],
  ["E", say.reply("554 5.6.0 Bad content"), "554 5.6.0 Bad content"],
];

for (const [code, answer, expected] of refusals) {
  Deno.test(`milter: what it says at ${code} is what the client hears: ${expected}`, async () => {
    await using filter = new Filter(at(code, answer));
    await using mail = await server(filter);
    const sent = await mail.send({ to });
    equal(sent.outcome === "refused" && sent.by, "milter");
    const { code: said, status, text } = sent.reply;
    ok(`${said} ${status ?? ""} ${text}`.startsWith(expected), `${said} ${status} ${text}`);
    equal(mail.delivered.length, 0);
  });
}

for (const code of ["C", "H", "M", "R", "T", "L", "B", "E"]) {
  Deno.test(`milter: content at ${code}: it hears no more of it, and the message comes in`, async () => {
    await using filter = new Filter(at(code, say.accept));
    await using mail = await server(filter);
    equal((await mail.send({ to })).outcome, "accepted");
    equal(mail.delivered.length, 1);
    equal(commands(filter.all).findLast((one) => one !== "Q")![0], code);
  });
}

for (const code of ["M", "R", "B", "E"]) {
  Deno.test(`milter: discarded at ${code}: the client is told yes, and nobody gets it`, async () => {
    await using filter = new Filter(at(code, say.discard));
    await using mail = await server(filter);
    equal((await mail.send({ to })).outcome, "accepted");
    equal(mail.delivered.length, 0);
    equal((await mail.queue()).length, 0);
  });
}

Deno.test("milter: header fields are added, put in, changed by their index and removed", async () => {
  await using filter = new Filter(at(
    "E",
    say.insertHeader(0, "X-Top", "first"),
    say.addHeader("X-Last", " v=1; a=b;\n\tc=d"),
    say.changeHeader(2, "X-Many", "TWO"),
    say.changeHeader(3, "X-Many", ""),
    say.changeHeader(1, "X-New", "made"),
    say.continue,
  ));
  await using mail = await server(filter);
  await mail.send({
    to,
    content: "X-Many: one\r\nX-Many: two\r\nX-Many: three\r\nX-Many: four\r\n\r\nbody\r\n",
  });
  const { content } = mail.delivered[0]!;
  match(
    content,
    /\r\nX-Top: first\r\nX-Many: one\r\nX-Many: TWO\r\nX-Many: four\r\nX-Last: v=1; a=b;\r\n\tc=d\r\nX-New: made\r\n\r\nbody\r\n$/,
  );
});

Deno.test("milter: a body comes anew, in pieces and with line ends of any kind; where the message is refused after all it stays", async () => {
  await using filter = new Filter(
    at("E", say.replaceBody("one\ntw"), say.progress, say.replaceBody("o\r\nthree\n"), say.continue),
  );
  await using mail = await server(filter);
  await mail.send({ to, text: "old\r\n" });
  match(mail.delivered[0]!.content, /\r\n\r\none\r\ntwo\r\nthree\r\n$/);
  filter.answers = at("E", say.replaceBody("gone"), say.reject);
  equal((await mail.send({ to })).reply.code, 550);
  equal((await mail.inUse()).octets, 0);
});

Deno.test("milter: recipients and the sender are changed", async () => {
  await using filter = new Filter(at(
    "E",
    say.addRecipient("<carol@example.org>"),
    say.removeRecipient("<alice@EXAMPLE.org>"),
    say.changeSender("<other@elsewhere.example>"),
    say.accept,
  ));
  await using mail = await server(filter);
  equal((await mail.send({ to: [to, "bob@example.org"] })).outcome, "accepted");
  deepEqual(mail.delivered.map(({ to, from }) => [to, from]).sort(), [
    ["bob@example.org", "other@elsewhere.example"],
    ["carol@example.org", "other@elsewhere.example"],
  ]);
});

Deno.test("milter: quarantine: taken, and held in the queue from the first moment, with its reason", async () => {
  await using filter = new Filter(at("E", say.quarantine("looks odd"), say.continue));
  await using mail = await server(filter);
  equal((await mail.send({ to })).outcome, "accepted");
  equal(mail.delivered.length, 0);
  const [queued] = await mail.queue();
  equal(queued?.held, "milter: looks odd");
  await mail.clock.advance("5d");
  equal(mail.delivered.length, 0);
});

Deno.test("milter: steps it wants to be spared aren't told, and replies it doesn't give aren't waited for", async () => {
  const steps = Step.noConnect | Step.noHelo | Step.noRcpt | Step.noBody | Step.silentHeader |
    Step.silentMail;
  await using filter = new Filter(({ code }) => {
    if (code === "O") return say.agree(6, 0, steps);
    return code === "M" || code === "L" ? [] : undefined;
  });
  await using mail = await server(filter);
  equal((await mail.send({ to })).outcome, "accepted");
  await filter.left();
  equal(commands(filter.all).map(([code]) => code).join("").replace(/L+/, "L"), "OMTLNEQ");
});

Deno.test("milter: skip ends the body, and nothing else", async () => {
  await using filter = new Filter(at("B", say.skip));
  await using mail = await server(filter);
  equal((await mail.send({ to, text: `${"x".repeat(76)}\r\n`.repeat(2000) })).outcome, "accepted");
  equal(commands(filter.all).filter((one) => one.startsWith("B")).length, 1);
});

Deno.test("milter: a filter of version 2 is spoken to as such", async () => {
  await using filter = new Filter(({ code }) =>
    code === "O" ? say.agree(2, Action.addHeaders, 0) : undefined
  );
  await using mail = await server(filter, { protocol: 2 });
  equal((await mail.send({ to })).outcome, "accepted");
  ok(!filter.all.includes("T"), "DATA came with version 4");
});

Deno.test("milter: macros it asks for are told, others not; the operator's come before ours", async () => {
  await using filter = new Filter(({ code }) =>
    code === "O"
      ? say.agree(6, Action.setMacros, 0, [...say.macros(0, "{daemon_name}"), ...say.macros(2, "{i}")])
      : undefined
  );
  await using mail = await server(filter, { macros: { "{daemon_name}": "ORIGINATING" } });
  await mail.send({ to });
  const macros = filter.all.filter((one) => one.startsWith("D "));
  equal(macros[0], "D C{daemon_name}|ORIGINATING|");
  match(macros.find((one) => one.startsWith("D M"))!, /^D Mi\|[^|]+\|$/);
});

Deno.test("milter: whoever has logged in is told so", async () => {
  await using filter = new Filter();
  await using mail = await testServer({ plugins: [logins(), ["milter", { address: filter.address }], box] });
  equal((await mail.send({ to, user: "alice@example.org", from: "alice@example.org" })).outcome, "accepted");
  const macros = filter.all.find((one) => one.startsWith("D M"))!;
  match(macros, /\{auth_type\}\|LOGIN\|\{auth_authen\}\|alice@example\.org\|/);
  ok(filter.all.some((one) => one.includes("{daemon_name}|MSA|")));
});

Deno.test("milter: two messages on one connection, and one that was begun and given up", async () => {
  await using filter = new Filter();
  await using mail = await server(filter);
  const client = mail.connect();
  await client.reply();
  for (
    const line of [
      "EHLO a.example",
      "MAIL FROM:<x@a.example>",
      "RSET",
      "MAIL FROM:<y@a.example>",
      `RCPT TO:<${to}>`,
    ]
  ) {
    await client.command(line);
  }
  await client.command("DATA");
  await client.command("Subject: x\r\n\r\nhi\r\n.");
  await client.command("MAIL FROM:<z@a.example>");
  await client.command("QUIT");
  await client.closed;
  await filter.left();
  const said = commands(filter.heard[0]!).filter((one) => /^[AMEQ]/.test(one));
  deepEqual(said, ["M <x@a.example>|", "A", "M <y@a.example>|", "E", "M <z@a.example>|", "Q"]);
});

Deno.test("milter: several filters are several entries, each with its say", async () => {
  await using one = new Filter(at("E", say.addHeader("X-One", "1"), say.continue));
  await using two = new Filter(at("E", say.addHeader("X-Two", "2"), say.continue));
  await using mail = await testServer({
    plugins: [
      { use: "milter", as: "one", with: { address: one.address } },
      { use: "milter", as: "two", with: { address: two.address } },
      box,
    ],
  });
  await mail.send({ to });
  match(mail.delivered[0]!.content, /X-One: 1\r\nX-Two: 2\r\n/);
  ok(two.all.includes("L X-One|1|"), "the second sees what the first has done");
});

// ── What goes wrong

const troubles: readonly (readonly [string, Answers, RegExp])[] = [
  ["is gone at once", () => "close", /has closed the connection/],
  [
    "speaks something else",
    () => new TextEncoder().encode("220 smtp.example ESMTP\r\n"),
    /does not speak the milter protocol/,
  ],
  ["speaks garbage later", ({ code }) => code === "M" ? say.garbage : undefined, /milter/],
  ["says what is none of a reply", at("R", say.reply("250 OK")), /none of SMTP/],
  ["changes too soon", at("L", say.addHeader("A", "b")), /before the message's end/],
  [
    "writes a field that isn't folded",
    at("E", say.addHeader("A", "b\nBcc: c@d.example"), say.continue),
    /CR|LF/,
  ],
];

for (const [how, answers, why] of troubles) {
  Deno.test(`milter: one that ${how} defers, with one line in the log`, async () => {
    await using filter = new Filter(answers);
    await using mail = await server(filter);
    const sent = await mail.send({ to });
    ok(
      sent.outcome === "refused" && sent.reply.code >= 400 && sent.reply.code < 500,
      JSON.stringify(sent.reply),
    );
    equal(mail.delivered.length, 0);
    const lines = mail.log.of("plugin failed");
    equal(lines.length, 1);
    match(String(lines[0]!.fields["error"]), why);
  });
}

Deno.test("milter: one that isn't there defers, and says where it was looked for", async () => {
  await using mail = await testServer({ plugins: [["milter", { address: "/nonexistent/milter" }], box] });
  equal((await mail.send({ to })).reply.code, 421);
  match(
    String(mail.log.of("plugin failed")[0]!.fields["error"]),
    /can't be reached at \/nonexistent\/milter/,
  );
});

Deno.test("milter: onError: skip: mail comes in, and the log says what it wasn't asked", async () => {
  await using mail = await testServer({
    plugins: [{ use: "milter", with: { address: "/nonexistent/milter" }, onError: "skip" }, box],
  });
  equal((await mail.send({ to })).outcome, "accepted");
  deepEqual(mail.log.of("plugin failed").map((line) => line.fields["hook"]), ["connect", "mail", "data"]);
});

Deno.test("milter: one that breaks off at a recipient is told everything anew, and the message is looked through whole", async () => {
  let breaks = 1;
  await using filter = new Filter(({ code, data }) => {
    if (code !== "R" || !String.fromCharCode(...data).includes("bob") || breaks === 0) return undefined;
    breaks--;
    return "close";
  });
  await using mail = await server(filter);
  const client = mail.connect();
  await client.reply();
  await client.command("EHLO a.example");
  await client.command("MAIL FROM:<x@a.example>");
  equal((await client.command(`RCPT TO:<${to}>`)).code, 250);
  equal((await client.command("RCPT TO:<bob@example.org>")).code, 451);
  equal((await client.command("RCPT TO:<carol@example.org>")).code, 250);
  await client.command("DATA");
  equal((await client.command("Subject: x\r\n\r\nhi\r\n.")).code, 250);
  client.close();
  await client.closed;
  deepEqual(commands(filter.heard[1]!).filter((one) => /^[HMRE]/.test(one)), [
    "H a.example|",
    "M <x@a.example>|",
    "R <alice@example.org>|",
    "R <carol@example.org>|",
    "E",
  ]);
});

Deno.test("milter: a slow one is late after the plugin's time, and not while it says that it is at work", async () => {
  await using filter = new Filter(({ code }) => code === "E" ? "hang" : undefined);
  await using mail = await server(filter, {}, { timeout: "10s" });
  const until = async (done: () => boolean) => {
    while (!done()) await new Promise((resolve) => setImmediate(resolve));
  };
  const first = mail.send({ to });
  await until(() => filter.all.includes("E"));
  for (let i = 0; i < 3; i++) {
    await until(() => mail.clock.pending.includes(10_000)); // its time has begun anew
    await mail.clock.advance("9s");
    await filter.tell(say.progress);
  }
  await until(() => mail.clock.pending.includes(10_000));
  await filter.tell(say.continue);
  equal((await first).outcome, "accepted", "after 27 seconds of 10");

  const late = mail.send({ to });
  await until(() => filter.all.filter((one) => one === "E").length === 2);
  await until(() => mail.clock.pending.includes(10_000));
  await mail.clock.advance("11s");
  equal((await late).reply.code, 451);
  match(String(mail.log.of("plugin failed")[0]!.fields["error"]), /no answer within 10000 ms/);
});

Deno.test("milter: our own mail isn't asked about unless it is to be, and then as of this machine", async () => {
  await using filter = new Filter();
  const own = { sender: "a@example.org", recipients: [to], content: "Subject: x\r\n\r\nHello\r\n" };
  {
    await using mail = await server(filter);
    await mail.submit(own);
    equal(filter.all.length, 0);
  }
  await using mail = await server(filter, { ownMail: "ask" });
  await mail.submit(own);
  equal(mail.delivered.length, 1);
  await filter.left();
  ok(filter.all.some((one) => one.startsWith("C localhost|4")));
  equal(commands(filter.all).at(-1), "Q");
});

Deno.test("milter: LMTP clients by a Unix socket have no address", async () => {
  await using filter = new Filter(({ code }) => code === "O" ? say.agree(6, everyAction, 0) : undefined);
  await using mail = await server(filter);
  equal((await mail.send({ to, protocol: "lmtp", ip: "unix" })).outcome, "accepted");
  ok(filter.all.includes("C localhost|U"));
});

// ── In the queue

Deno.test("milter: when: queued: the filter hears the session from the queue, and what it says becomes of the message", async () => {
  await using filter = new Filter(({ code }) => {
    if (code === "O") return say.agree(6, Action.addHeaders, 0);
    return code === "E" ? [say.addHeader("X-Seen", "1"), say.continue] : undefined;
  });
  await using mail = await server(filter, {}, { when: "queued" });
  const from = "bob@elsewhere.example";
  equal((await mail.send({ from, to, ip: "192.0.2.9", helo: "client.example" })).outcome, "accepted");
  await mail.settled();
  match(mail.delivered[0]!.content, /^X-Seen: 1\r$/m);
  await filter.left();
  const heard = commands(filter.heard[0]!);
  ok(heard[1]!.startsWith("C [192.0.2.9]|4"));
  deepEqual(heard.filter((one) => /^[HMREQ]/.test(one)), [
    "H client.example|",
    `M <${from}>|`,
    `R <${to}>|`,
    "E",
    "Q",
  ]);
});

Deno.test("milter: when: queued: recipients are refused and put off one by one, and none can be added", async () => {
  let later = true;
  const offered: number[] = [];
  await using filter = new Filter(({ code, data }) => {
    const said = String.fromCharCode(...data);
    if (code === "O") offered.push(data[7]!);
    if (code === "O") return say.agree(6, 0, 0);
    if (code === "R" && said.includes("bad")) return say.reject;
    return code === "R" && said.includes("later") && later ? say.tempfail : undefined;
  });
  await using mail = await testServer({
    plugins: [{ use: "milter", with: { address: filter.address }, when: "queued" }, box],
    outbound: { retry: ["5m"] },
  });
  await mail.send({
    from: "bob@example.org",
    to: ["good", "bad", "later"].map((user) => `${user}@example.org`),
  });
  await mail.settled();
  deepEqual(mail.delivered.map(({ to }) => to).sort(), ["bob@example.org", "good@example.org"]);
  await mail.clock.advance("301s");
  await mail.settled();
  equal(mail.delivered.length, 2, "still not now");
  later = false;
  await mail.clock.advance("301s");
  await mail.settled();
  equal(mail.delivered.at(-1)!.to, "later@example.org");
  ok(offered.every((actions) => (actions & Action.addRecipients) === 0));
});

Deno.test("milter: when: queued: one that isn't there delays mail, and no reply", async () => {
  await using mail = await testServer({
    plugins: [{ use: "milter", with: { address: "/nonexistent/milter" }, when: "queued" }, box],
  });
  equal((await mail.send({ to })).outcome, "accepted");
  await mail.settled();
  equal(mail.delivered.length, 0);
  equal(
    (await mail.queue())[0]!.recipients[0]!.reply,
    "4.3.0 The plugin milter could not look at the message",
  );
  equal(mail.log.of("plugin failed").length, 1);
});

Deno.test("milter: when: queued: one is refused and the only other put off: he isn't refused with him", async () => {
  let later = true;
  await using filter = new Filter(({ code, data }) => {
    const said = String.fromCharCode(...data);
    if (code === "O") return say.agree(6, 0, 0);
    if (code === "R" && said.includes("bad")) return say.reject;
    return code === "R" && said.includes("later") && later ? say.tempfail : undefined;
  });
  await using mail = await testServer({
    plugins: [{ use: "milter", with: { address: filter.address }, when: "queued" }, box],
    outbound: { retry: ["5m"] },
  });
  await mail.send({ from: "bob@example.org", to: ["bad@example.org", "later@example.org"] });
  await mail.settled();
  deepEqual(mail.delivered.map(({ to }) => to), ["bob@example.org"]);
  later = false;
  await mail.clock.advance("301s");
  await mail.settled();
  equal(mail.delivered.at(-1)!.to, "later@example.org");
});

Deno.test("milter: mail kept for it in the queue is shown to it there though it is asked on arrival by now, and leaves no connection", async () => {
  let busy = true;
  await using filter = new Filter(({ code, data }) => {
    if (code === "O") return say.agree(6, data[7]! & Action.addRecipients, 0);
    if (code !== "E") return;
    return busy ? say.tempfail : [say.continue];
  });
  const milter = { use: "milter", with: { address: filter.address } };
  await using mail = await testServer({
    plugins: [{ ...milter, when: "queued" }, box],
    outbound: { retry: ["5m"] },
  });
  await mail.send({ to });
  await mail.settled();
  await mail.reload([milter, box]);
  busy = false;
  await mail.clock.advance("301s");
  await mail.settled();
  equal(mail.delivered.length, 1);
  await filter.left();
  equal(filter.heard.length, 2);
  ok(filter.heard.every((heard) => heard.at(-1) === "Q"));
});

Deno.test("milter: a field longer than the protocol carries is refused for good: it would be as long the next time", async () => {
  await using filter = new Filter();
  await using mail = await server(filter);
  const withField = (lines: number) =>
    mail.send({ to, content: `X-Long: ${`${"y".repeat(70)}\r\n `.repeat(lines)}z\r\n\r\nHello\r\n` });
  equal((await withField(900)).outcome, "accepted");
  equal(Math.max(...filter.all.map(({ length }) => length)) > 60_000, true);
  const sent = await withField(1000);
  match(JSON.stringify(sent), /550.*5\.6\.0.*The field X-Long is longer than a mail filter can be told/);
  equal((await withField(1)).outcome, "accepted");
});
