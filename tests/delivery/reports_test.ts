import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { type Reported, wants } from "../../server/delivery/reports.ts";
import { smtpCourier } from "../../server/delivery/smtp_courier.ts";
import type { SmtpDelivery, SmtpResult } from "../../server/delivery/smtp/transport.ts";
import { longestHead } from "../../server/message/content.ts";
import { SealedMessage } from "../../server/message/message.ts";
import { delivered } from "../../server/plugin.ts";
import { parseAddress } from "../../server/smtp/address.ts";
import type { QueuedEnvelope, QueuedRecipient } from "../../server/spool/spool.ts";
import { queuedMessage } from "./fake_spool.ts";
import { day, each, hour, later, minute, never, ok as taken, rig } from "./rig.ts";

/** The report that a message whose recipients all fail causes. */
async function failureOf(
  to: readonly (string | Partial<QueuedRecipient> & { address: string })[],
  more: Partial<QueuedEnvelope> & { text?: string } = {},
) {
  const test = rig({ smtp: (attempt) => each(attempt, never) });
  await test.keep("M1", to, more);
  test.runner.start();
  await test.settle();
  return { ...test, report: test.bounces[0]?.text ?? "", count: test.bounces.length };
}

const partTypes = (text: string) =>
  [...text.matchAll(/^--=_.*\r\nContent-Type: (\S+?);?[\r ]/gm)].map(([, type]) => type);

Deno.test("N02: who is told of what", () => {
  const to = (notify?: QueuedRecipient["notify"]): QueuedRecipient => ({
    address: "a@x.example",
    original: "a@x.example",
    via: "smtp",
    ...(notify && { notify }),
  });
  const told = (recipient: QueuedRecipient, sender = "s@x.example") =>
    (["failure", "delay", "success"] as const).filter((kind) => wants(kind, sender, recipient));
  deepEqual(told(to()), ["failure", "delay"]);
  deepEqual(told(to("NEVER")), []);
  deepEqual(told(to(["SUCCESS"])), ["success"]);
  deepEqual(told(to(["FAILURE"])), ["failure"]);
  deepEqual(told(to(["DELAY", "SUCCESS"])), ["delay", "success"]);
  deepEqual(told(to(["FAILURE", "SUCCESS"]), ""), []);
});

Deno.test("N02: NOTIFY=NEVER is silent, and the others of the message are told of", async () => {
  const { report, endings } = await failureOf([
    { address: "quiet@x.example", notify: "NEVER" },
    { address: "success@x.example", notify: ["SUCCESS"] },
    "loud@x.example",
  ]);
  match(report, /^Final-Recipient: rfc822; loud@x\.example\r$/m);
  ok(!report.includes("quiet@") && !report.includes("success@"));
  equal(endings().length, 3);
  equal((await failureOf([{ address: "quiet@x.example", notify: "NEVER" }])).count, 0);
});

Deno.test("N02: ENVID and ORCPT come back; an alias's target stays unknown", async () => {
  const { report } = await failureOf([
    {
      address: "target@else.example",
      original: "list@x.example",
      orcpt: { type: "rfc822", address: "List+1@x.example" },
    },
    { address: "target2@else.example", original: "list@x.example" },
  ], { envid: "ENV=1" });
  match(report, /^Original-Envelope-Id: ENV=1\r$/m);
  match(
    report,
    /^Original-Recipient: rfc822; List\+1@x\.example\r\nFinal-Recipient: rfc822; list@x\.example\r$/m,
  );
  ok(!report.includes("target"));
  equal(report.match(/^Final-Recipient/gm)!.length, 1, "one recipient to the sender");
});

Deno.test("N02: RET decides what is attached; without it, and where it is large, the header", async () => {
  const text = "Subject: hello\r\nX: y\r\n\r\nthe body\r\n";
  deepEqual(partTypes((await failureOf(["a@x.example"], { text })).report).at(-1), "text/rfc822-headers");
  deepEqual(
    partTypes((await failureOf(["a@x.example"], { text, ret: "HDRS" })).report).at(-1),
    "text/rfc822-headers",
  );
  const full = await failureOf(["a@x.example"], { text, ret: "FULL", top: ["Received: by us\r\n"] });
  match(
    full.report,
    /message\/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nReceived: by us\r\nSubject: hello\r\nX: y\r\n\r\nthe body\r\n/,
  );
  const large = await failureOf(["a@x.example"], { text: text + "x".repeat(1024 * 1024), ret: "FULL" });
  equal(partTypes(large.report).at(-1), "text/rfc822-headers");
  ok(large.report.length < 5000);
});

Deno.test("D05: of an endless header as much as there is room for comes back", async () => {
  const { report } = await failureOf(["a@x.example"], { text: "X: y\r\n".repeat(longestHead / 6 + 10) });
  ok(report.length < 70_000, `${report.length}`);
  equal(partTypes(report).at(-1), "text/rfc822-headers");
});

Deno.test("a message that can't be read is reported without it", async () => {
  const test = rig({
    smtp: (attempt) => {
      test.spool.beforeContent = () => {
        throw new Error("EIO");
      };
      return each(attempt, never);
    },
  });
  await test.keep("M1", ["a@x.example"]);
  test.runner.start();
  await test.settle();
  deepEqual(partTypes(test.bounces[0]!.text), ["text/plain", "message/delivery-status"]);
  equal(test.spool.size, 0);
});

Deno.test("Q05: a report that can't be delivered is dropped with a log line, and told to nobody", async () => {
  const { count, log, spool } = await failureOf(["a@x.example"], {
    sender: "",
    text: "Subject: Your message\x1b[2J\r\n\r\nbody",
  });
  equal(count, 0);
  equal(spool.size, 0);
  const [line] = log.of("undeliverable report dropped");
  equal(line?.level, "warning");
  equal(line?.fields.subject, "Your message\\x1b[2J");
  equal(line?.fields.to, "a@x.example");
});

Deno.test("Q05: failures are told whatever the headers say", async () => {
  for (const header of ["Precedence: bulk", "Auto-Submitted: auto-generated", "List-Id: <l.example>"]) {
    equal((await failureOf(["a@x.example"], { text: `${header}\r\n\r\nbody` })).count, 1, header);
  }
});

for (
  const [header, notices] of [
    ["Subject: x", 1],
    ["Auto-Submitted: no", 1],
    ["Precedence: first-class", 1],
    ["Precedence: bulk", 0],
    ["Precedence: LIST", 0],
    ["precedence: junk", 0],
    ["List-Unsubscribe: <mailto:x@y>", 0],
    ["Auto-Submitted: auto-replied", 0],
  ] as const
) {
  Deno.test(`Q05: delay notice of a message with ${header}: ${notices}`, async () => {
    const { keep, runner, clock, bounces } = rig({ smtp: (attempt) => each(attempt, later) });
    await keep("M1", ["a@x.example", "b@x.example"], { text: `${header}\r\n\r\nbody\r\n` });
    runner.start();
    await clock.advance(4 * hour - minute);
    equal(bounces.length, 0);
    await clock.advance(20 * hour);
    equal(bounces.length, notices);
    if (notices === 0) return;
    match(bounces[0]!.text, /^Action: delayed\r\nStatus: 4\.2\.1\r$/m);
    const until = /^Will-Retry-Until: (.*)\r$/m.exec(bounces[0]!.text)![1]!;
    equal(Date.parse(until), clock.now() - (24 * hour - minute) + 5 * day, "five days from when it came");
    equal(bounces[0]!.text.match(/^Final-Recipient/gm)!.length, 2);
  });
}

Deno.test("Q05: one delay notice, also after a restart", async () => {
  const first = rig({ smtp: (attempt) => each(attempt, later) });
  await first.keep("M1", ["a@x.example"]);
  first.runner.start();
  await first.clock.advance(5 * hour);
  equal(first.bounces.length, 1);
  await first.runner.stop(0);
  const { clock, spool } = first;
  const second = rig({ smtp: (attempt) => each(attempt, later), clock, spool });
  second.runner.start();
  await clock.advance(10 * hour);
  equal(second.bounces.length, 0);
});

Deno.test("N02: success is told where it was asked for: delivered here, relayed to a host without DSN", async () => {
  const { keep, runner, settle, bounces } = rig({
    transports: { box: () => Promise.resolve(delivered("saved")) },
    smtp: (attempt) => ({
      results: attempt.recipients.map(({ parsed }) =>
        parsed.user === "dsn" ? { ...taken, dsn: "passed on" as const } : taken
      ),
      contact: "reached",
    }),
  });
  const notify = ["SUCCESS"] as const;
  await keep("M1", [
    { address: "here@x.example", via: "box", notify },
    { address: "there@x.example", notify },
    { address: "dsn@x.example", notify },
    { address: "silent@x.example" },
  ], { text: "Subject: x\r\n\r\nsecret", ret: "FULL" });
  runner.start();
  await settle();
  const all = bounces.map(({ text }) => text).join("");
  const actions = [
    ...all.matchAll(/^Final-Recipient: rfc822; (\S+)\r\nAction: (\S+)\r\nStatus: 2\.0\.0\r$/gm),
  ];
  deepEqual(actions.map(([, who, action]) => `${who} ${action}`).sort(), [
    "here@x.example delivered",
    "there@x.example relayed",
  ]);
  ok(!all.includes("secret"), "the header only, whatever RET says");
});

Deno.test("a report of a message under SMTPUTF8 is sent under SMTPUTF8", async () => {
  const { bounces, report } = await failureOf(["björn@x.example"], {
    utf8: true,
    sender: "ålice@here.example",
  });
  deepEqual([bounces[0]?.utf8, bounces[0]?.recipients], [true, ["ålice@here.example"]]);
  match(report, /^To: <ålice@here\.example>\r$/m);
  match(report, /^Final-Recipient: utf-8; björn@x\.example\r$/m);
});

Deno.test("a report that submission refuses goes where its recipient's mail goes", async () => {
  const { spool, reports, log } = rig({ submitBounce: () => Promise.reject(new Error("451")) });
  Object.assign(reports.options, {
    viaOf: (address: string) => address === "s@here.example" ? "maildir" : undefined,
  });
  for (const sender of ["s@here.example", "s@else.example"]) {
    const { envelope, content } = queuedMessage("M1", ["a@x.example"], { received: 0, sender });
    const reported: Reported = {
      recipient: envelope.recipients[0]!,
      action: "failed",
      status: "5.0.0",
      reply: "",
      lastAttempt: 0,
    };
    await reports.failed({ envelope, content: () => Promise.resolve(content) }, [reported]);
  }
  const kept = await Array.fromAsync(spool.list());
  deepEqual(
    kept.map((
      { envelope },
    ) => [envelope.sender, envelope.recipients[0]!.address, envelope.recipients[0]!.via]),
    [
      ["", "s@here.example", "maildir"],
      ["", "s@else.example", "smtp"],
    ],
  );
  equal(log.of("report refused, queued as it is").length, 2);
});

Deno.test("smtp: what its results say of recipients, and of the destination", async () => {
  const base = { status: "4.0.0", reply: "no", host: "mx.x.example" };
  const down: SmtpResult = { ...base, outcome: "deferred", reason: "connect", destinationDown: true };
  const greylisted: SmtpResult = { ...base, outcome: "deferred", reason: "rcpt", destinationDown: false };
  const dns: SmtpResult = {
    ...base,
    host: undefined,
    outcome: "deferred",
    reason: "dns",
    destinationDown: false,
  };
  const unknown: SmtpResult = {
    outcome: "failed",
    status: "5.1.2",
    reply: "No such domain",
    host: undefined,
  };
  const sent: SmtpResult = {
    outcome: "delivered",
    status: "2.0.0",
    reply: "250 OK",
    host: "mx.x.example",
    tls: undefined,
    verified: false,
    dsnOffered: true,
    protocol: "smtp",
  };
  for (
    const [result, contact] of [
      [down, "unreachable"],
      [greylisted, "reached"],
      [dns, "unknown"],
      [unknown, "unknown"],
      [sent, "reached"],
    ] as const
  ) {
    const asked: string[] = [];
    const delivery: SmtpDelivery = {
      destinationOf: (domain) => ({
        kind: "mx",
        key: domain,
        domain,
        tls: "opportunistic",
        source: undefined,
        helo: undefined,
      }),
      deliver: (job) => {
        asked.push(`${job.id} ${job.sender} ${job.size} ${job.destination.key} ${job.recipients.length}`);
        return Promise.resolve([result]);
      },
      close: () => Promise.resolve(),
    };
    const { envelope, content } = queuedMessage("M1", ["a@x.example"], { received: 0 });
    const [recipient] = envelope.recipients;
    const answer = await smtpCourier(() => delivery).deliver({
      envelope,
      message: new SealedMessage("M1", content),
      recipients: [{ ...recipient!, parsed: parseAddress("a@x.example")! }],
      attempt: 1,
      stopping: new AbortController().signal,
    });
    equal(answer.contact, contact);
    equal(answer.results[0]?.outcome, result.outcome);
    equal(answer.results[0]?.dsn, result.outcome === "delivered" ? "passed on" : undefined);
    deepEqual(asked, [`M1 sender@here.example ${content.size} x.example 1`]);
  }
});
