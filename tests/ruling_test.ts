import { deepStrictEqual as deepEqual, ok, strictEqual as equal, throws } from "node:assert/strict";
import { hookNames } from "../server/generation.ts";
import { MalformedVerdict, printable, readVerdict, toObjection, toReply } from "../server/ruling.ts";
import { format, replies } from "../server/smtp/reply.ts";
import { accept, defer, disconnect, reject } from "../server/verdict.ts";

const via = { transport: "maildir" };

Deno.test("ruling: nothing is no opinion, in every hook", () => {
  for (const hook of hookNames) equal(readVerdict(hook, undefined), undefined);
});

Deno.test("ruling: what each hook may claim", () => {
  const good: [Parameters<typeof readVerdict>[0], unknown][] = [
    ["auth", { user: "a", sendAs: ["*@d.example"] }],
    ["auth", { user: "a" }],
    ["rcpt", {}],
    ["resolve", { via }],
    ["resolve", { to: ["a@b.example"] }],
    ["resolve", { to: ["a@b.example"], onward: via }],
    ["resolve", { onward: via }],
    ["dataFor", { via }],
    ["queue", { id: "1" }],
    ["route", { hops: [{ host: "mx.example" }] }],
    ["route", {
      hops: [{ host: "mx.example", port: 465, tls: "implicit", auth: { user: "u", password: "p" } }],
    }],
    ["route", { hops: [{ path: "/run/lmtp", protocol: "lmtp", auth: { user: "u", passwordFile: "/pw" } }] }],
    ["relay", {}],
    ["relay", { hops: [{ host: "mx.example" }], sender: "", headers: [["Delivered-To", "a@b.example"]] }],
    ["relay", { sender: "a@b.example" }],
    ["vrfy", { reply: "a <a@b.example>" }],
    ["expn", { reply: ["a@b.example", "c@d.example"] }],
    ["command", { reply: "fine", code: 250 }],
  ];
  for (const [hook, claim] of good) {
    const verdict = { verdict: "accept", claim };
    equal(readVerdict(hook, verdict), verdict, hook);
  }
  const bad: [Parameters<typeof readVerdict>[0], unknown][] = [
    ["auth", {}],
    ["auth", { user: "" }],
    ["auth", { user: "a", sendAs: "a" }],
    ["resolve", {}],
    ["resolve", { via, to: ["a@b.example"] }],
    ["resolve", { to: [] }],
    ["resolve", { to: "a@b.example" }],
    ["resolve", { to: [undefined] }],
    ["resolve", { via: "maildir" }],
    ["dataFor", {}],
    ["queue", { id: 1 }],
    ["queue", { id: "a\r\nb" }],
    ["route", { hops: [] }],
    ["route", { hops: [{}] }],
    ["route", { hops: [{ host: "" }] }],
    ["route", { hops: [{ host: "a", path: "/b" }] }],
    ["route", { hops: [{ host: "a", port: 0 }] }],
    ["route", { hops: [{ host: "a", port: "25" }] }],
    ["route", { hops: [{ host: "a", tls: "yes" }] }],
    ["route", { hops: [{ path: "/b", tls: "required" }] }],
    ["route", { hops: [{ host: "a", protocol: "LMTP" }] }],
    ["route", { hops: [{ host: "a", auth: { user: "u" } }] }],
    ["route", { hops: [{ host: "a", auth: { user: "u", password: "p", passwordFile: "/pw" } }] }],
    ["resolve", { via, onward: via }],
    ["resolve", { onward: "maildir" }],
    ["relay", { hops: [] }],
    ["relay", { sender: "not an address" }],
    ["relay", { headers: ["X: y"] }],
    ["vrfy", { reply: "a\nb" }],
    ["expn", { reply: [] }],
    ["command", { reply: "x", code: 500 }],
    ["command", { code: 250 }],
    ["connect", {}],
    ["helo", {}],
    ["mail", {}],
    ["data", {}],
    ["auth", null],
    ["rcpt", undefined],
    ["rcpt", "yes"],
  ];
  for (const [hook, claim] of bad) {
    throws(
      () => readVerdict(hook, { verdict: "accept", claim }),
      MalformedVerdict,
      `${hook} ${JSON.stringify(claim)}`,
    );
  }
});

Deno.test("ruling: a password doesn't come to the log with a malformed claim", () => {
  const hops = [{ host: "mx.example", port: -1, auth: { user: "u", password: "hunter2" } }];
  throws(() => readVerdict("route", { verdict: "accept", claim: { hops } }), ({ message }: Error) => {
    ok(message.includes('"user":"u"') && !message.includes("hunter2"), message);
    return true;
  });
});

Deno.test("ruling: nobody disconnects where there may be no connection", () => {
  for (const hook of ["resolve", "dataFor", "route", "relay"] as const) {
    throws(() => readVerdict(hook, disconnect("4.7.0", "Bye")), /cannot disconnect/);
  }
  ok(readVerdict("data", disconnect("5.7.0", "Bye")));
});

Deno.test("ruling: a malformed verdict is said to be one, whatever it is", () => {
  const circular: Record<string, unknown> = {};
  circular.circular = circular;
  const strange = [null, 0, "", true, [], {}, () => {}, 5n, circular, { verdict: "delivered", text: "x" }];
  for (const said of strange) throws(() => readVerdict("mail", said), MalformedVerdict);
  throws(() => readVerdict("mail", reject), /the function reject/);
});

Deno.test("ruling: default codes, by hook", () => {
  const codes = (hook: Parameters<typeof toReply>[0]) =>
    [reject("5.7.1", "x"), defer("4.7.1", "x"), disconnect("4.7.0", "x"), disconnect("5.7.0", "x")]
      .map((one) => toReply(hook, one)).map(({ code, closes }) => `${code}${closes ? " closes" : ""}`).join(
        ", ",
      );
  equal(codes("connect"), "554 closes, 421 closes, 421 closes, 554 closes");
  equal(codes("auth"), "535, 454, 421 closes, 554 closes");
  for (const hook of ["helo", "mail", "rcpt", "resolve", "data", "dataFor", "queue"] as const) {
    equal(codes(hook), "550, 451, 421 closes, 554 closes");
  }
  equal(toReply("rcpt", reject("5.2.2", "x", 552)).code, 552);
  equal(toReply("rcpt", defer("4.2.2", "x", 452)).code, 452);
});

Deno.test("ruling: O08 nothing of a plugin's breaks the wire", () => {
  equal(printable("a\tb\x1b[2Jc\u2028dé"), "a?b?[2Jc?d?");
  equal(format(toReply("rcpt", reject("5.7.1", "gr\u00fc\u00df dich"))), "550 5.7.1 gr?? dich\r\n");
  const long = format(toReply("rcpt", reject("5.7.1", "word ".repeat(500).trim())));
  for (const line of long.split("\r\n").slice(0, -1)) ok(line.length <= 510 && /^550[- ]5\.7\.1 /.test(line));
  ok(long.split("\r\n").at(-2)!.startsWith("550 5.7.1 "), "the last line ends it");
});

Deno.test("ruling: the core's own refusals as verdicts", () => {
  deepEqual(toObjection(replies.noSuchUser), reject("5.1.1", replies.noSuchUser.lines[0]!));
  deepEqual(toObjection(replies.noRoom), defer("4.3.1", replies.noRoom.lines[0]!));
  deepEqual(toObjection(replies.timeout), disconnect("4.4.2", replies.timeout.lines[0]!));
  equal(readVerdict("connect", toObjection(replies.notSmtp))?.verdict, "disconnect");
  equal(accept().verdict, "accept");
});
