import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { replies, type Reply } from "../../server/smtp/reply.ts";
import { type Question, type SessionOptions, SmtpSession } from "../../server/smtp/session.ts";

const bytes = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

const options: SessionOptions = {
  hostname: "mx.test",
  protocol: "smtp",
  role: "mx",
  limits: { message: 1000, recipients: 3, errors: 10, refusedRecipients: 100 },
  bareNewlines: "normalize",
  canStartTls: false,
  encrypted: false,
  auth: { mechanisms: ["PLAIN", "LOGIN"], inClear: true },
  trusted: false,
  unread: () => 0,
};

/** Plays the caller: everything is allowed, but recipients that begin with `no` and logins of `mallory`. */
class Driver {
  readonly session: SmtpSession;
  readonly asked: Question["about"][] = [];
  readonly messages: string[] = [];
  said = "";
  closed: string | undefined;
  #content = "";

  constructor(
    changes: Partial<SessionOptions> = {},
    readonly onMessage: () => Reply | Reply[] = () => replies.accepted("ID"),
  ) {
    this.session = new SmtpSession({ ...options, ...changes });
    this.session.greet();
    this.#run();
  }

  send(...chunks: (string | Uint8Array)[]): this {
    for (const chunk of chunks) {
      if (this.closed !== undefined) return this;
      this.session.receive(typeof chunk === "string" ? bytes(chunk) : chunk);
      this.#run();
    }
    return this;
  }

  #run(): void {
    for (;;) {
      const event = this.session.next();
      if (event.type === "ask") this.#ask(event.question);
      else if (event.type === "content") {
        for (const byte of event.bytes) this.#content += String.fromCharCode(byte);
      } else if (event.type === "reset") this.#content = "";
      else {
        this.said += this.session.takeOutput();
        if (event.type === "close") this.closed = event.reason;
        if (event.type !== "starttls") return;
        this.session.encrypted();
      }
    }
  }

  #ask(question: Question): void {
    this.asked.push(question.about);
    switch (question.about) {
      case "rcpt":
        return this.session.answer(question.recipient.user.startsWith("no") ? replies.noSuchUser : undefined);
      case "auth":
        return this.session.answer(question.credentials.user === "mallory" ? replies.loginFailed : undefined);
      case "vrfy":
      case "expn":
        return this.session.answer(replies.cannotVerify);
      case "command":
        return this.session.answer(replies.unknownCommand);
      case "message":
        this.messages.push(this.#content);
        this.#content = "";
        return this.session.answer(this.onMessage());
      default:
        return this.session.answer(undefined);
    }
  }

  /** The codes of all replies so far, one a reply. */
  get codes(): string {
    return this.said.split("\r\n").filter((line) => /^\d{3} /.test(line)).map((line) => line.slice(0, 3))
      .join(" ");
  }
}

const open = "EHLO c.test\r\n";
const mail = "MAIL FROM:<a@b.test>\r\n";
const rcpt = "RCPT TO:<c@d.test>\r\n";

Deno.test("an ordinary transaction", () => {
  const driver = new Driver().send(
    open,
    mail,
    rcpt,
    "DATA\r\n",
    "Subject: x\r\n\r\n..y\r\n.\r\n",
    "QUIT\r\n",
  );
  equal(driver.codes, "220 250 250 250 354 250 221");
  deepEqual(driver.messages, ["Subject: x\r\n\r\n.y\r\n"]);
  equal(driver.closed, "quit");
});

interface Row {
  name: string;
  sent: string[];
  codes: string;
  how?: Partial<SessionOptions>;
  messages?: string[];
  closed?: string;
}

const rows: Row[] = [
  {
    name: "C02 verbs in any case",
    sent: ["ehlo c\r\n", "mAiL from:<a@b.test>\r\n", "rSeT\r\n"],
    codes: "220 250 250 250",
  },
  { name: "C02 the long s is no s", sent: [open, "STARTTL\xc5\xbf\r\n"], codes: "220 250 500" },
  { name: "C02 the Kelvin sign is no K", sent: [open, "\xe2\x84\xaaELP\r\n"], codes: "220 250 500" },
  { name: "C03 EHLO without argument", sent: ["EHLO\r\n", "HELO\r\n"], codes: "220 501 501" },
  { name: "C03 a strange but printable HELO", sent: ["HELO a b_(c)\r\n"], codes: "220 250" },
  { name: "C03 an argument over 255", sent: [`EHLO ${"a".repeat(256)}\r\n`], codes: "220 501" },
  {
    name: "C04 512 octets are a line",
    sent: [`NOOP ${"a".repeat(505)}\r\n`, `NOOP ${"a".repeat(506)}\r\n`, "NOOP\r\n"],
    codes: "220 250 500 250",
  },
  { name: "C04 endless", sent: ["a".repeat(70_000)], codes: "220 500 500", closed: "refused" },
  { name: "C05 bare LF", sent: ["NOOP\nQUIT\r\n", "NOOP\r\n"], codes: "220 500 250" },
  { name: "C05 bare CR", sent: ["NOOP\rQUIT\r\n", "NOOP\r\n"], codes: "220 500 250" },
  { name: "C05 NUL", sent: ["NO\0OP\r\n"], codes: "220 500" },
  { name: "C05 bare CR in an argument", sent: ["NOOP x\rQUIT\r\n", "NOOP\r\n"], codes: "220 500 250" },
  {
    name: "C05 control bytes where any text goes",
    sent: ["NOOP a\x01\r\n", "VRFY a\x1b[2J\r\n"],
    codes: "220 501 501",
  },
  {
    name: "C05 control byte in an argument",
    sent: [open, "MAIL FROM:<a\x01@b.test>\r\n"],
    codes: "220 250 501",
  },
  { name: "C07 HTTP", sent: ["GET / HTTP/1.1\r\nHost: x\r\n\r\n"], codes: "220 554", closed: "refused" },
  { name: "C07 a header line", sent: ["Host: x\r\n"], codes: "220 554", closed: "refused" },
  { name: "C07 a ClientHello", sent: ["\x16\x03\x01\x02\x00"], codes: "220 554", closed: "refused" },
  { name: "C08 unknown", sent: ["XYZZY\r\n"], codes: "220 500" },
  { name: "C08 obsolete", sent: ["TURN\r\n", "SEND FROM:<a@b>\r\n"], codes: "220 502 502" },
  {
    name: "C08 arguments",
    sent: [open, "DATA x\r\n", "RSET x\r\n", "QUIT x\r\n", "NOOP\r\n"],
    codes: "220 250 501 501 501 250",
  },
  {
    name: "C10 spaces and no brackets",
    sent: [open, "MAIL FROM: a@b.test  \r\n", "RCPT TO: <c@d.test> \r\n"],
    codes: "220 250 250 250",
  },
  {
    name: "C11 the 11th error",
    sent: Array(11).fill("X\r\n"),
    codes: `220 ${"500 ".repeat(10)}421`,
    closed: "refused",
  },
  {
    name: "C11 the 101st NOOP is an error",
    sent: [...Array(10).fill("X\r\n"), ...Array(101).fill("NOOP\r\n")],
    codes: `220 ${"500 ".repeat(10)}${"250 ".repeat(100)}421`,
    closed: "refused",
  },
  {
    name: "C11 refused recipients",
    sent: [open, mail, ...Array(101).fill("RCPT TO:<no@d.test>\r\n")],
    codes: `220 250 250 ${"550 ".repeat(100)}421`,
    closed: "refused",
  },
  {
    name: "C11 an accepted recipient is not cut",
    sent: [open, mail, rcpt, ...Array(102).fill("RCPT TO:<no@d.test>\r\n"), "DATA\r\n"],
    codes: `220 250 250 250 ${"550 ".repeat(102)}354`,
  },
  {
    name: "A10 needs SMTPUTF8",
    sent: [open, "MAIL FROM:<\xc3\xa4@b.test>\r\n", "MAIL FROM:<\xc3\xa4@b.test> SMTPUTF8\r\n"],
    codes: "220 250 553 250",
  },
  {
    name: "S01 out of sequence",
    sent: [mail, open, rcpt, "DATA\r\n", mail, mail, "DATA\r\n", "STARTTLS\r\n"],
    codes: "220 503 250 503 503 250 503 503 503",
  },
  {
    name: "S01 EHLO ends the transaction",
    sent: [open, mail, rcpt, open, rcpt],
    codes: "220 250 250 250 250 503",
  },
  {
    name: "S03 one recipient too many",
    sent: [open, mail, rcpt, rcpt, rcpt, rcpt],
    codes: "220 250 250 250 250 250 452",
  },
  {
    name: "P01 one group",
    sent: [open, `${mail}${rcpt}RCPT TO:<no@d.test>\r\nDATA\r\n`, "x\r\n.\r\n"],
    codes: "220 250 250 250 550 354 250",
    messages: ["x\r\n"],
  },
  { name: "P02 behind EHLO", sent: [`${open}${mail}`], codes: "220 554", closed: "refused" },
  {
    name: "P02 behind DATA",
    sent: [open, mail, rcpt, "DATA\r\nx\r\n.\r\n"],
    codes: "220 250 250 250 554",
    closed: "refused",
    messages: [],
  },
  {
    name: "P02 HELO of a trusted client",
    sent: [`HELO c\r\n${mail}`],
    how: { trusted: true },
    codes: "220 250 250",
  },
  {
    name: "P02 behind STARTTLS",
    sent: [open, "STARTTLS\r\nNOOP\r\n"],
    how: { canStartTls: true },
    codes: "220 250 554",
    closed: "refused",
  },
  {
    name: "D06 too large",
    sent: [open, mail, rcpt, "DATA\r\n", `${"x".repeat(998)}\r\n`.repeat(2), ".\r\n", "NOOP\r\n"],
    codes: "220 250 250 250 354 552 250",
    messages: [],
  },
  { name: "D06 SIZE too large", sent: [open, "MAIL FROM:<a@b.test> SIZE=1001\r\n"], codes: "220 250 552" },
  {
    name: "B01 chunks",
    sent: [open, mail, rcpt, "BDAT 5\r\n.\r\nQUIT\r\n".slice(0, 13), "BDAT 2 LAST\r\nz\n"],
    codes: "220 250 250 250 250 250",
    messages: [".\r\nQUz\r\n"],
  },
  {
    name: "B01 pipelined chunks",
    sent: [open, mail, rcpt, "BDAT 3\r\n.\r\nBDAT 3\r\nx\r\nBDAT 0 LAST\r\n"],
    codes: "220 250 250 250 250 250 250",
    messages: [".\r\nx\r\n"],
  },
  {
    name: "B02 no number",
    sent: [open, mail, rcpt, "BDAT 1e3\r\n"],
    codes: "220 250 250 250 501",
    closed: "refused",
  },
  {
    name: "B02 out of sequence, consumed",
    sent: [open, "BDAT 6 LAST\r\nQUIT\r\n", "NOOP\r\n"],
    codes: "220 250 503 250",
  },
  {
    name: "B02 over the limit, consumed",
    sent: [open, mail, rcpt, `BDAT 1001\r\n${"x".repeat(1001)}NOOP\r\n`],
    codes: "220 250 250 250 552 250",
  },
  {
    name: "B03 in chunks",
    sent: [open, mail, rcpt, "BDAT 1\r\nx", "DATA\r\n", rcpt, "RSET\r\n", mail],
    codes: "220 250 250 250 250 503 503 250 250",
  },
  {
    name: "U01 not offered",
    sent: [open, "AUTH PLAIN\r\n"],
    how: { auth: { mechanisms: [], inClear: false } },
    codes: "220 250 503",
  },
  {
    name: "U01 submission in the clear",
    sent: [open, "AUTH PLAIN\r\n", mail],
    how: { role: "submission", auth: { mechanisms: ["PLAIN"], inClear: false } },
    codes: "220 250 530 530",
  },
  {
    name: "U02 malformed",
    sent: [open, "AUTH PLAIN !\r\n", "AUTH CRAM-MD5\r\n", "AUTH PLAIN\r\n", "*\r\n", "AUTH PLAIN AGE=\r\n"],
    codes: "220 250 501 504 334 501 501",
  },
  {
    name: "U02 second AUTH",
    sent: [open, "AUTH PLAIN AGEAYg==\r\n", "AUTH PLAIN AGEAYg==\r\n"],
    codes: "220 250 235 503",
  },
  {
    name: "U04 third failure",
    sent: [open, ...Array(3).fill(`AUTH PLAIN ${btoa("\0mallory\0x")}\r\n`)],
    codes: "220 250 535 535 421",
    closed: "refused",
  },
  {
    name: "U05 another identity",
    sent: [open, `AUTH PLAIN ${btoa("bob\0alice\0x")}\r\n`],
    codes: "220 250 535",
  },
  {
    name: "U05 STARTTLS forgets EHLO and AUTH",
    sent: [
      open,
      "AUTH PLAIN AGEAYg==\r\n",
      "STARTTLS\r\n",
      mail,
      open,
      "STARTTLS\r\n",
      "AUTH PLAIN AGEAYg==\r\n",
    ],
    how: { canStartTls: true },
    codes: "220 250 235 503 250 503 235",
  },
  { name: "T04 no certificate", sent: [open, "STARTTLS\r\n"], codes: "220 250 502" },
  {
    name: "N01 DSN parameters",
    sent: [open, "MAIL FROM:<a@b.test> RET=FULL ENVID=x RET=FULL\r\n", "MAIL FROM:<a@b.test> FOO=1\r\n"],
    codes: "220 250 501 555",
  },
  {
    name: "L01 LMTP has LHLO only",
    sent: [open, "LHLO c\r\n"],
    how: { protocol: "lmtp" },
    codes: "220 500 250",
  },
  { name: "L01 SMTP has no LHLO", sent: ["LHLO c\r\n"], codes: "220 500" },
];

for (const { name, sent, codes, how, messages, closed } of rows) {
  Deno.test(`session: ${name}`, () => {
    const driver = new Driver(how).send(...sent);
    equal(driver.codes, codes.trim(), driver.said);
    if (messages) deepEqual(driver.messages, messages);
    equal(driver.closed, closed);
  });
}

Deno.test("session: L01 a reply for each accepted RCPT, repeats included", () => {
  const lines = ["LHLO c\r\n", mail, rcpt, rcpt, "RCPT TO:<no@d.test>\r\n", "DATA\r\n", "x\r\n.\r\n"];
  const driver = new Driver({ protocol: "lmtp" }, () => [replies.accepted("1"), replies.pluginFailed]).send(
    ...lines,
  );
  equal(driver.codes, "220 250 250 250 250 550 354 250 451");
  const big = new Driver({ protocol: "lmtp" }).send(...lines.slice(0, -1), `${"x".repeat(1200)}\r\n.\r\n`);
  equal(big.codes, "220 250 250 250 250 550 354 552 552");
});

Deno.test("session: EHLO offers what can be had", () => {
  const plain =
    new Driver({ auth: { mechanisms: ["PLAIN"], inClear: false }, canStartTls: true }).send(open).said;
  for (
    const word of [
      "PIPELINING",
      "SIZE 1000",
      "8BITMIME",
      "SMTPUTF8",
      "ENHANCEDSTATUSCODES",
      "CHUNKING",
      "DSN",
      "STARTTLS",
    ]
  ) {
    ok(plain.includes(`250-${word}\r\n`), word);
  }
  ok(plain.endsWith("250 HELP\r\n") && !plain.includes("AUTH"));
  const secure = new Driver({ encrypted: true, canStartTls: true }).send(open).said;
  ok(secure.includes("250-AUTH PLAIN LOGIN\r\n") && !secure.includes("STARTTLS"));
  equal(new Driver().send("HELO c\r\n").said.split("\r\n").length, 3, "HELO is one line");
});

// ── Properties ─────────────────────────────────────────────────────────────────────────────────────

const word = fc.oneof(
  fc.constantFrom(
    "EHLO c",
    "HELO c",
    "MAIL FROM:<a@b.test>",
    "RCPT TO:<c@d.test>",
    "RCPT TO:<no@d.test>",
    "DATA",
    "BDAT 3",
    "BDAT 3 LAST",
  ),
  fc.constantFrom(
    "RSET",
    "NOOP",
    "VRFY x",
    "HELP",
    "QUIT",
    "AUTH PLAIN",
    "AUTH LOGIN",
    "STARTTLS",
    ".",
    "",
    "*",
    "AGEAYg==",
    "x".repeat(600),
  ),
  fc.string({ unit: "binary", maxLength: 40 }),
);
const end = fc.constantFrom("\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n.\r\n", "\0", "");
const stream = fc.array(fc.tuple(word, end).map(([text, newline]) => text + newline), { maxLength: 40 });
const latin1 = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0) & 0xff);

Deno.test("session: any bytes give replies, never another error", () => {
  fc.assert(
    fc.property(stream, fc.boolean(), (parts, tls) => {
      const driver = new Driver({ canStartTls: tls });
      for (const part of parts) driver.send(latin1(part));
      for (const line of driver.said.split("\r\n").slice(0, -1)) {
        ok(/^[2-5]\d\d[ -][\x20-\x7e]*$/.test(line), JSON.stringify(line));
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("session: one chunk is the same as one byte at a time, a refusal of early talk aside", () => {
  fc.assert(
    fc.property(stream, (parts) => {
      const all = latin1(parts.join(""));
      const whole = new Driver({ trusted: true }).send(all);
      const bytewise = new Driver({ trusted: true });
      for (const byte of all) bytewise.send(Uint8Array.of(byte));
      const early = whole.said.indexOf("554 5.5.0 You sent bytes");
      if (early < 0) equal(whole.said, bytewise.said);
      else equal(whole.messages.length <= bytewise.messages.length, true);
      if (early < 0) deepEqual(whole.messages, bytewise.messages);
    }),
    { numRuns: 500 },
  );
});
